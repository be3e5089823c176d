"""Commands on a dataset that the model was not trained on, with `--force` and without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import describe
from tests.support.commands import caplog_of, expect_error, run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.untraced
def test_counts_of_another_dataset(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run("synthesize", "--output", other, "--rows", 3000, "--max_table_size", 20, "--label_rate", 0.2) == 0
    capsys.readouterr()
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
    message = r"table 0\b.* \d+ rows, .* \d+"
    expect_error(capsys, message, "test", "-c", fitted / "config.yaml", *checkpoint, "--data.folder", other)
    expect_error(capsys, message, "verify", "--artifact", fitted / "artifact", "--data", other)


@pytest.mark.untraced
def test_dataset_of_other_categories(capsys: pytest.CaptureFixture[str], fitted: Path, dataset_copy: Path) -> None:
    """Tables have the same sizes, so nothing else reveals the difference."""
    own = DatasetFolder.open(dataset_copy).fingerprint
    values = np.load(dataset_copy / "day_fea_dict_0.npz")["unique"]
    np.savez(dataset_copy / "day_fea_dict_0.npz", unique=values[::-1])
    other = describe(dataset_copy, max_ind_range=40_000_000, created_by="test").fingerprint
    for command in ("verify", "predict"):
        message = f"this dataset has fingerprint {other}, .* made for {own}"
        expect_error(capsys, message, command, "--artifact", fitted / "artifact", "--data", dataset_copy)
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt", "--data.folder", dataset_copy)
    for command, *options in (("test",), ("quantize",), ("fit", "--overwrite")):
        message = f"trained on the dataset {own}, but this one is {other}"
        expect_error(capsys, message, command, "-c", fitted / "config.yaml", *checkpoint, *options)
    assert (fitted / "artifact" / "certificate.json").is_file()


def test_other_dataset_by_force(
    capsys: pytest.CaptureFixture[str], fitted: Path, dataset_copy: Path, tmp_path: Path
) -> None:
    """It is scored, the command says so, and the certificate states it."""
    own = DatasetFolder.open(dataset_copy).fingerprint
    values = np.load(dataset_copy / "day_fea_dict_0.npz")["unique"]
    np.savez(dataset_copy / "day_fea_dict_0.npz", unique=values[::-1])
    other = describe(dataset_copy, max_ind_range=40_000_000, created_by="test").fingerprint
    checkpoint = ("-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    data = ("--data.folder", dataset_copy, "--force", "true")
    assert run("test", *checkpoint, *data) == 0
    assert run("predict", *checkpoint, *data, "--output", tmp_path / "p.npy") == 0
    assert run("quantize", *checkpoint, *data, "--output", tmp_path / "forced") == 0
    said = f"The dataset is {other}, but the model was made for {own}"
    assert said in json.loads((tmp_path / "forced" / "certificate.json").read_text())["other_dataset"]
    assert json.loads((fitted / "artifact" / "certificate.json").read_text())["other_dataset"] == ""
    with caplog_of("dlrm_pl") as lines:
        for command in (["verify"], ["predict", "--output", tmp_path / "q.npy"]):
            artifact = ("--artifact", fitted / "artifact", "--data", dataset_copy, "--force", "true")
            assert run(*command, *artifact) == 0
            assert said in lines.pop()
    assert capsys.readouterr().err.count("error") == 0


@pytest.mark.slow
@pytest.mark.untraced
def test_dataset_of_smaller_tables_by_force(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    counts = np.load(synthetic_folder / "day_fea_count.npz")["counts"]
    table, cap = int(counts.argmax()), int(counts.max()) - 1
    arguments = ("-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    data = ("--data.folder", synthetic_folder, "--data.max_ind_range", cap)
    both = rf"table {table}: the checkpoint has {cap + 1} rows, the dataset {cap}"
    expect_error(capsys, both, "test", *arguments, *data)
    assert run("quantize", *arguments, *data, "--force", "true", "--output", tmp_path / "forced") in (0, 3, 4)
    certificate = json.loads((tmp_path / "forced" / "certificate.json").read_text())
    assert f"table {table}: the dataset has {cap} rows, the model {cap + 1}" in certificate["other_dataset"]


@pytest.mark.untraced
def test_dataset_of_larger_tables_is_refused_even_by_force(
    capsys: pytest.CaptureFixture[str], fitted: Path, dataset_copy: Path
) -> None:
    counts = np.load(dataset_copy / "day_fea_count.npz")["counts"]
    counts[0] += 1
    for path in (*dataset_copy.glob("day_fea_*"), dataset_copy / "dataset.json"):
        path.unlink()  # Without them the folder is like MLPerf's own, which has only counts.
    np.savez(dataset_copy / "day_fea_count.npz", counts=counts)
    arguments = ("-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    message = rf"table 0: the dataset has {counts[0]} rows, the model {counts[0] - 1}\. .* not even with --force"
    expect_error(capsys, message, "test", *arguments, "--data.folder", dataset_copy, "--force", "true")
