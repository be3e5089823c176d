"""`predict` as a user runs it, from a dataset and from a raw log."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import open_records, split_file_name
from tests.support.commands import expect_error, run, write_config

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]

AS_TEXT = pyarrow.csv.ConvertOptions(column_types={"C2": pa.string()})


def test_predict_with_artifact_gives_the_certified_auroc(fitted: Path, synthetic_folder: Path, tmp_path: Path) -> None:
    from dlrm_pl.metrics.ranking import exact_auroc

    output = tmp_path / "p.npy"
    assert run("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder, "--output", output) == 0
    labels = open_records(synthetic_folder / split_file_name("test"))[:, 0]
    certificate = json.loads((fitted / "artifact" / "certificate.json").read_text())
    assert exact_auroc(np.load(output), labels) == pytest.approx(certificate["int8"]["auroc"], abs=1e-9)


def test_predict_scores_a_raw_log_as_the_same_rows_of_the_dataset(tmp_path: Path) -> None:
    options = ("--rows", 3000, "--days", 2, "--label_rate", 0.2, "--max_table_size", 50)
    assert run("synthesize", "--output", tmp_path / "data", *options) == 0
    assert run("synthesize", "--output", tmp_path / "raw", "--format", "raw", *options) == 0
    assert run("fit", "-c", write_config(tmp_path, tmp_path / "data")) in (0, 3, 4)
    common = ("predict", "--artifact", tmp_path / "artifact", "--data", tmp_path / "data")
    assert run(*common, "--split", "train", "--output", tmp_path / "a.csv") == 0
    assert run(*common, "--raw", tmp_path / "raw" / "day_0", "--output", tmp_path / "b.csv") == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    fp32 = ("predict", "-c", tmp_path / "config.yaml", "--ckpt_path", tmp_path / "run" / "model.ckpt")
    raw = ("--data.predict_raw", tmp_path / "raw" / "day_0", "--output", tmp_path / "c.csv")
    assert run(*fp32, *raw) == 0
    # From here on without the training rows: the dictionaries are enough.
    for path in [*(tmp_path / "data").glob("*.bin"), *(tmp_path / "data").glob("*.blocks")]:
        path.unlink()
    # Without labels, like Kaggle's test file.
    rows = (tmp_path / "raw" / "day_0").read_text().splitlines()
    (tmp_path / "test.txt").write_text("\n".join(row.split("\t", 1)[1] for row in rows))
    assert run(*common, "--raw", tmp_path / "test.txt", "--output", tmp_path / "d.csv") == 0
    assert run(*fp32, "--data.predict_raw", tmp_path / "test.txt", "--output", tmp_path / "e.csv") == 0
    assert (tmp_path / "d.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert (tmp_path / "e.csv").read_text() == (tmp_path / "c.csv").read_text()
    int8, float_ = (np.loadtxt(tmp_path / name, skiprows=1) for name in ("a.csv", "c.csv"))
    assert np.abs(int8 - float_).max() < 0.05


def test_predict_counts_unknown_categories(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    unknown = []
    # Column C3 has missing values in the dataset, so a missing one is known; in other columns it may not be.
    for value in ("", "fffffff1"):
        fields = ["", *["3"] * 13, "", "", value, *[""] * 23]
        (tmp_path / "new.tsv").write_text("\t".join(fields) + "\n")
        assert run(*arguments, "--raw", tmp_path / "new.tsv", "--output", tmp_path / "p.csv", "--overwrite") == 0
        text = capsys.readouterr().out
        assert "1 click probabilities" in text
        # Columns that had missing values in the log, and the other columns.
        as_missing = re.findall(r"^(\d+) category values? (?:is|are) not .* scored as missing$", text, re.MULTILINE)
        as_first = re.findall(r"^(\d+) category values? .* scored as C\d+=.* has no row for", text, re.MULTILINE)
        unknown.append(sum(map(int, as_missing + as_first)))
        assert as_first
    assert unknown[1] == unknown[0] + 1


def test_predict_with_a_checkpoint_writes_its_probabilities(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("predict", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    assert run(*arguments, "--output", tmp_path / "p.npy") == 0
    probabilities = np.load(tmp_path / "p.npy")
    assert probabilities.dtype == np.float32
    assert 0 < probabilities.min() < probabilities.max() < 1
    expect_error(capsys, "Give --output FILE.csv, FILE.npy or FILE.parquet", *arguments)


def test_predictions_replace_a_file_only_when_asked_and_go_into_a_pipe(
    capfd: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    predict = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder, "--output")
    (tmp_path / "p.csv").write_text("mine")
    assert run(*predict, tmp_path / "p.csv") == 2
    assert "p.csv: already exists. Give --overwrite" in capfd.readouterr().err
    assert (tmp_path / "p.csv").read_text() == "mine"
    assert run(*predict, tmp_path / "p.csv", "--overwrite") == 0
    capfd.readouterr()
    assert run(*predict, "/dev/stdout") == 0
    assert capfd.readouterr().out == (tmp_path / "p.csv").read_text()


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_raw_log_that_is_none(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path, ending: str
) -> None:
    (tmp_path / "empty.tsv").write_text("")
    arguments = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    output = ("--output", tmp_path / f"p.{ending}")
    expect_error(capsys, r"empty\.tsv: is empty", *arguments, *output, "--raw", tmp_path / "empty.tsv")
    (tmp_path / "folder").mkdir()
    expect_error(capsys, r"folder: is an empty folder", *arguments, *output, "--raw", tmp_path / "folder")
    expect_error(capsys, r"split=test is a part of a dataset, but --raw .* Leave one out", *arguments, *output,
                 "--raw", tmp_path / "no.tsv", "--split", "test")  # fmt: skip
    expect_error(capsys, r"no\.tsv: no such raw log", *arguments, *output, "--raw", tmp_path / "no.tsv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.tsv", "folder"]


def test_unknown_ending_of_predictions(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    arguments = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    expect_error(capsys, r"written as \.csv, \.npy or \.parquet", *arguments, "--output", tmp_path / "p.xls")


def test_columns_are_kept_from_every_kind_of_rows(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    columns = Columns.criteo()
    lines = [["1", *["3"] * 13, *[f"{row:08x}"] * 26] for row in range(50)]
    log, table, pipe = tmp_path / "log.tsv", tmp_path / "rows.parquet", tmp_path / "pipe"
    log.write_text("".join("\t".join(line) + "\n" for line in lines))
    values = {name: [line[place] for line in lines] for place, name in enumerate(columns.names)}
    numbers = {name: list(map(int, values[name])) for name in (columns.label, *(d.name for d in columns.dense))}
    pq.write_table(pa.table(values | numbers | {"user": [f"u{row}" for row in range(50)]}), table)
    os.mkfifo(pipe)
    artifact = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder, "--batch_size", 7)
    checkpoint = ("predict", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    found = {}
    for kind, command in (("int8", artifact), ("fp32", checkpoint)):
        writer = threading.Thread(target=pipe.write_bytes, args=(log.read_bytes(),))
        writer.start()
        for name, raw, keep in (("log", log, "C2"), ("pipe", pipe, "C2"), ("table", table, "user,C2")):
            output = tmp_path / f"{kind}-{name}.csv"
            assert run(*command, "--raw", raw, "--keep", keep, "--output", output) == 0
            found[kind, name] = pyarrow.csv.read_csv(output, convert_options=AS_TEXT)
        writer.join()
        assert found[kind, "table"].column("user").to_pylist() == [f"u{row}" for row in range(50)]
        for name in ("log", "pipe", "table"):
            assert found[kind, name].column("C2").to_pylist() == [f"{row:08x}" for row in range(50)]
            assert found[kind, name].column("probability") == found[kind, "log"].column("probability")
        split = tmp_path / f"{kind}-split.parquet"
        assert run(*command, "--keep", "label,I1,C2", "--output", split) == 0
        records = open_records(synthetic_folder / split_file_name("test"))
        for name, place in (("label", 0), ("I1", 1), ("C2", 15)):
            assert pq.read_table(split).column(name).to_pylist() == records[:, place].tolist()
    expect_error(capsys, "log.tsv: has no column C99. Did you mean C9", *artifact, "--raw", log, "--keep", "C99",
                 "--output", tmp_path / "x.csv")  # fmt: skip
    expect_error(capsys, r"rows\.parquet: has no column usr. Did you mean user", *artifact, "--raw", table,
                 "--keep", "usr", "--output", tmp_path / "x.csv")  # fmt: skip
    expect_error(capsys, r"npy holds only probabilities", *artifact, "--keep", "C1", "--output", tmp_path / "x.npy")


def test_dash_is_standard_output(capfd: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path) -> None:
    predict = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    assert run(*predict, "--output", "-") == 0
    assert capfd.readouterr().out.startswith("probability\n0.")
    assert run("predict", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt", "--output=-") == 0
    assert capfd.readouterr().out.startswith("probability\n0.")
