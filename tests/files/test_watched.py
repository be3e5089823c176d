"""Files that change under a reader are refused; files that are replaced by others are not."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.errors import ArtifactError, CheckpointError, DataFormatError
from dlrm_pl.files import watched
from dlrm_pl.files.watched import Watch, WatchedFile
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.weights_file import WeightsFile
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.writer import write_torch_file
from tests.support import tiny


def write_in_place(path: Path) -> None:
    with path.open("r+b") as handle:
        handle.write(b"other")


def cut(path: Path) -> None:
    before = path.stat()
    os.truncate(path, before.st_size - 1)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Replace a file as this program does: rename another file to its name."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    other.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(6400))
    os.utime(path, (1e9, 1e9))
    return path


@pytest.mark.parametrize("change", [write_in_place, cut])
def test_change_in_place_is_refused(path: Path, change: Callable[[Path], None]) -> None:
    watch = Watch([WatchedFile(path, ArtifactError)])
    watch.check()
    change(path)
    with pytest.raises(ArtifactError, match=r"file: was changed in place .* it had 6,400 bytes of 2001-.* now has 6,"):
        watch.check()


@pytest.mark.parametrize("change", [replace, Path.unlink])
def test_file_that_lost_its_name_stays_as_it_was(path: Path, change: Callable[[Path], None]) -> None:
    file = WatchedFile(path, ArtifactError)
    file.check_named()
    change(path)
    file.check_unchanged()
    with pytest.raises(ArtifactError, match="file: was replaced or removed while it was being opened"):
        file.check_named()


def test_glance_looks_once_in_an_interval(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch([WatchedFile(path, ArtifactError)])
    watch.glance()
    write_in_place(path)
    watch.glance()
    monkeypatch.setattr(watched, "_INTERVAL_S", 0.0)
    watch = Watch([WatchedFile(path, ArtifactError)])
    watch.glance()
    cut(path)
    with pytest.raises(ArtifactError, match="was changed in place"):
        watch.glance()


@pytest.mark.parametrize("change", [write_in_place, cut])
def test_rows_of_a_dataset_that_changes_are_refused(dataset_copy: Path, change: Callable[[Path], None]) -> None:
    rows = ClickDataset.of_split(DatasetFolder.open(dataset_copy), "val")
    path = dataset_copy / split_file_name("val")
    first = rows[0:10]
    change(path)
    with pytest.raises(DataFormatError, match=r"val\.bin: (was changed in place|.* bytes is not a whole number)"):
        rows[0:10]
    assert len(first.labels) == 10


def test_open_dataset_that_was_replaced_is_read_on_but_not_opened_again(dataset_copy: Path) -> None:
    rows = ClickDataset.of_split(DatasetFolder.open(dataset_copy), "val")
    before = rows[0:10].dense
    sent = pickle.dumps(rows)
    replace(dataset_copy / split_file_name("val"))
    np.testing.assert_array_equal(rows[0:10].dense, before)
    # A worker that starts now would mix two files in one epoch.
    with pytest.raises(DataFormatError, match=r"val\.bin: was replaced or changed since the dataset was opened"):
        pickle.loads(sent)[0:10]


def model_of(path: Path) -> DLRM:
    """Make a model with a file from which its weights came."""
    model = tiny.model()
    write_torch_file(path, {name: parameter.detach() for name, parameter in model.named_parameters()})
    model.weights_file = WeightsFile(path, TorchFile.open(path).contents)
    return model


@pytest.mark.parametrize("change", [write_in_place, cut])
def test_checkpoint_that_changes_is_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    model = model_of(tmp_path / "a.ckpt")
    replace(tmp_path / "a.ckpt")
    model.watch.check()
    model = model_of(tmp_path / "b.ckpt")
    change(tmp_path / "b.ckpt")
    for use in (model.watch.check, model.watch.glance, next(iter(model.weights_file.tensors.values())).map):  # type: ignore[union-attr]
        with pytest.raises(CheckpointError, match=r"b\.ckpt: (was changed in place|cut short)"):
            use()


def test_model_in_memory_has_nothing_to_watch() -> None:
    assert tiny.model().watch.files == ()
