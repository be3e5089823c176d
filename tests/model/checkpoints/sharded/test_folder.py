"""A sharded checkpoint reads like a checkpoint of one process, and a damaged one is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import dlrm_pl
from dlrm_pl.errors import CheckpointError, ConfigurationError, OutputError
from dlrm_pl.inspection import inspect_path
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.checkpoints.sharded.merging import Merge
from dlrm_pl.model.load import load_checkpoint, read_checkpoint
from tests.support.processes.sharded_folders import (
    Cut,
    by_columns,
    by_rows,
    by_tables,
    mixed,
    same_contents,
    write_sharded,
)


def save(folder: Path, dataset: Path, optimizer: str) -> Path:
    """Train on one process, and return the checkpoint."""
    path = folder / "model.ckpt"
    data = dlrm_pl.DLRMDataModule(dataset, batch_size=64)
    module = dlrm_pl.DLRMModule(
        data.table_sizes, 8, [0, 16, 8], [16, 1], columns=data.columns, optimizer=optimizer, engine="torch"
    )
    trainer = dlrm_pl.DLRMTrainer(
        accelerator="cpu", max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(path)
    return path


OPTIMIZERS = ("rwsadagrad", "adagrad", "sgd")


@pytest.fixture(scope="module")
def of_each(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of one process, with every kind of state."""
    return {name: save(tmp_path_factory.mktemp(name), synthetic_folder, name) for name in OPTIMIZERS}


@pytest.fixture(scope="module")
def saved(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of one process."""
    return save(tmp_path_factory.mktemp("saved"), synthetic_folder, "adagrad")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return write_sharded(saved, tmp_path / "step=3.ckpt")


# Each cut with each optimizer and each number of ranks, and each optimizer with each number of ranks.
@pytest.mark.parametrize(
    ("cut", "optimizer", "ranks"),
    [
        (cut, optimizer, (1, 2, 5)[(number + place) % 3])
        for number, cut in enumerate((by_rows, by_columns, by_tables, mixed))
        for place, optimizer in enumerate(OPTIMIZERS)
    ],
)
def test_merged_file_has_the_contents_of_one_process(
    of_each: dict[str, Path], tmp_path: Path, cut: Cut, optimizer: str, ranks: int
) -> None:
    whole = read_checkpoint(of_each[optimizer])
    folder = write_sharded(of_each[optimizer], tmp_path / "step=3.ckpt", cut, ranks)
    assert same_contents(read_checkpoint(folder, whole=True), whole)
    counted: list[int] = []
    merge = Merge(folder)
    merge.write(tmp_path / "merged.ckpt", counted.append)
    assert same_contents(read_checkpoint(tmp_path / "merged.ckpt", whole=True), whole)
    assert 0 <= sum(counted) - merge.nbytes <= 4 * 26  # Step counters, which are kept in memory, are added.
    assert torch.load(tmp_path / "merged.ckpt", weights_only=True)["global_step"] == 3


def test_module_of_a_folder_predicts_as_that_of_the_file(saved: Path, folder: Path, synthetic_folder: Path) -> None:
    rows = ([[1.0] * 13] * 4, [[0] * 26] * 4)
    assert (load_checkpoint(folder).predict(rows) == load_checkpoint(saved).predict(rows)).all()


def test_folder_is_described_as_the_file(saved: Path, folder: Path) -> None:
    of_folder, of_file = inspect_path(folder, full=True), inspect_path(saved, full=True)
    assert of_folder.kind == "checkpoint"
    assert of_folder.data == of_file.data
    assert "all by the checksums" in of_folder.checked


def test_folder_without_its_marker_is_not_whole(folder: Path) -> None:
    (folder / "complete.json").unlink()
    with pytest.raises(CheckpointError, match=r"step=3\.ckpt: is not a whole checkpoint: complete\.json"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["dense.pt", "part-1.pt"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"step=3\.ckpt: {name}, a file of the checkpoint, is missing"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["dense.pt", "part-1.pt"])
def test_shortened_file_is_named(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=rf"{name}: has {len(content) - 1:,} bytes instead of {len(content):,}"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["dense.pt", "part-1.pt"])
def test_flipped_bit_is_found(folder: Path, name: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        open_checkpoint(folder, whole=True)


@pytest.mark.parametrize("name", ["dense.pt", "part-1.pt"])
def test_file_of_another_checkpoint_is_refused(saved: Path, folder: Path, tmp_path: Path, name: str) -> None:
    other = write_sharded(saved, tmp_path / "other.ckpt", identity="fedcba9876543210")
    shutil.copy(other / name, folder / name)
    with pytest.raises(CheckpointError, match=rf"{name}: belongs to another checkpoint than complete\.json"):
        open_checkpoint(folder)


def test_rows_that_no_process_has_are_named(saved: Path, tmp_path: Path) -> None:
    def without_last(table: int, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
        return by_rows(table, rows, columns)[: 1 if table == 2 else 2]

    folder = write_sharded(saved, tmp_path / "step=3.ckpt", without_last)
    with pytest.raises(CheckpointError, match=r"step=3\.ckpt: table 2: corrupt: row \d+ of a tensor .* is not in one"):
        open_checkpoint(folder)


def test_later_format_is_refused(folder: Path) -> None:
    marker = folder / "complete.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match=r"complete\.json: has format 2, but this version"):
        open_checkpoint(folder)


def test_file_outside_of_the_folder_is_refused(folder: Path) -> None:
    marker = folder / "complete.json"
    stated = json.loads(marker.read_text())
    marker.write_text(json.dumps(stated | {"files": stated["files"] | {"../part-9.pt": 3}}))
    with pytest.raises(CheckpointError, match="does not list the files of a checkpoint"):
        open_checkpoint(folder)


def test_merge_refuses_what_is_no_sharded_checkpoint(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.ckpt: is already a single file"):
        Merge(saved)
    with pytest.raises(ConfigurationError, match=r"nothing: does not exist"):
        Merge(tmp_path / "nothing")
    with pytest.raises(ConfigurationError, match=r"is not the folder of a sharded checkpoint"):
        Merge(tmp_path)


def test_merge_of_a_damaged_folder_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    path = folder / "part-0.pt"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"part-0\.pt"):
        Merge(folder).write(tmp_path / "merged.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_merge_into_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(OutputError, match="is a folder, not a file"):
        Merge(folder).write(folder)
