"""Nonsense in a dataset folder, or in the folder of an unfinished run, gives a message that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl import inspection
from dlrm_pl.data.formats.binary_format import SPLITS
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import DLRMError
from tests.support.logs.raw_logs import contents, random_lines, use_engine, write_days

LINES = random_lines(60, 0, values=20)
VALUES: tuple[Any, ...] = (None, True, -1, 0, 1.5, 10**30, "x", "²", [], [[]], {}, [None] * 26, {"train": 1}, "\ud800")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    preprocess(write_days(folder / "raw", [LINES, LINES]), folder / "data")
    return folder


def use(folder: Path, raw: Path) -> None:
    """Run everything that reads a dataset folder."""
    DatasetFolder.open(folder).verify_checksums()
    inspection.describe(folder)
    data = DLRMDataModule(str(folder), batch_size=16)
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.tuning_dataloader()):
        assert list(loader)
    assert list(DLRMDataModule(str(folder), predict_raw=str(raw / "day_0")).predict_dataloader())
    preprocess(raw / "day", folder)  # The log that the dataset was made from.
    preprocess(raw / "day", folder.parent / "by_its_ids", PreprocessOptions(vocabulary_from=folder))


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Return the paths of all values in a document; of lists, only the first element's."""
    yield path
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, child in items:
        yield from paths_of(child, (*path, key))


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return the document with another value at a path; ``...`` removes it."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    if len(path) == 1 and value is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(document[path[0]], path[1:], value)
    return copy


def survives(folder: Path, raw: Path) -> str:
    """Return the error message, or an empty string for success. Errors other than our own are failures."""
    try:
        use(folder, raw)
    except DLRMError as error:
        return str(error)
    finally:
        shutil.rmtree(folder.parent / "by_its_ids", ignore_errors=True)
    return ""


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_dataset_json_of_any_values_is_read_or_refused(whole: Path, tmp_path: Path, thorough: bool) -> None:
    folder = tmp_path / "data"
    shutil.copytree(whole / "data", folder)
    path = folder / "dataset.json"
    document = json.loads(path.read_text())
    places = [place for place in paths_of(document) if place]
    messages = []
    for number, place in enumerate(places):
        values = (*VALUES, ...)
        for value in values if thorough else values[number % len(values) :: len(values)]:
            path.write_text(json.dumps(changed(document, place, value)))
            with suppress(DLRMError):
                inspection.describe(folder)
            if thorough or number % 8 == 0:
                messages.append(survives(folder, whole / "raw"))
    refused = [message for message in messages if message]
    assert len(refused) > len(messages) / 4
    assert all(
        any(name in message for name in ("dataset.json", "terabyte_", "day_fea", "data: ")) for message in refused
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe{}",
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"format": NaN}',
        b'{"format": 1, "format": 1}',
        b'{"format": ' + b"9" * 5000 + b"}",
        b"\0" * 100,
        b'{"format": 1, "splits": {"train": {"records": 1e999}}}',
    ],
)
def test_a_dataset_json_that_is_none_is_named(whole: Path, tmp_path: Path, text: bytes) -> None:
    shutil.copytree(whole / "data", tmp_path / "data")
    (tmp_path / "data" / "dataset.json").write_bytes(text)
    assert "dataset.json" in survives(tmp_path / "data", whole / "raw")


def _npz(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 5),
    "truncated": _truncated,
    "folder": _folder,
    "link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
}
ARRAYS: dict[str, Callable[[Path], object]] = {
    "float": _npz(counts=np.full(26, 1.5), unique=np.array([0.5, np.nan])),
    "object": _npz(counts=np.array([{}], object), unique=np.array([{}], object)),
    "text": _npz(counts=np.array(["x"] * 26), unique=np.array(["x"])),
    "complex": _npz(counts=np.ones(26, complex), unique=np.ones(3, complex)),
    "two axes": _npz(counts=np.ones((26, 2), int), unique=np.ones((3, 3), int)),
    "no axis": _npz(counts=np.array(1), unique=np.array(1)),
    "no values": _npz(counts=np.array([], int), unique=np.array([], int)),
    "huge": _npz(counts=np.full(26, 2**62), unique=np.array([2**62])),
    "negative": _npz(counts=np.full(26, -1), unique=np.array([-7])),
    "unsigned": _npz(counts=np.full(26, 2**64 - 1, np.uint64), unique=np.array([2**64 - 1], np.uint64)),
    "other names": _npz(other=np.ones(26, int)),
}


@pytest.mark.parametrize("damage", [*DAMAGES, *ARRAYS])
def test_a_damaged_file_is_named(whole: Path, tmp_path: Path, damage: str) -> None:
    names = ["day_fea_count.npz", "day_fea_dict_3.npz"]
    if damage in DAMAGES:
        names += [f"terabyte_processed_{split}.bin" for split in SPLITS] + ["terabyte_processed_test.blocks"]
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(whole / "data", folder)
        (DAMAGES | ARRAYS)[damage](folder / name)
        message = survives(folder, whole / "raw")
        # Without digests, everything else is checked as in earlier versions.
        assert name in message or (name.endswith(".blocks") and not (folder / name).is_file()), message


class Killed(BaseException):
    """A stand-in for a signal that kills the process."""


MANY = PreprocessOptions(memory_bytes=16 << 20, checkpoint_bytes=70_000, workers=2)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was killed while reading."""
    folder = tmp_path_factory.mktemp("unfinished")
    raw = write_days(folder / "raw", [random_lines(500, 0), random_lines(500, 1)])
    real = CheckpointFolder.commit

    def commit(self: CheckpointFolder, state: object) -> None:
        real(self, state)  # type: ignore[arg-type]
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(CheckpointFolder, "commit", commit)
        patch.setattr(PreprocessOptions, "chunk_bytes", 1 << 16)
        preprocess(raw, folder / "out", MANY)
    assert (folder / ".out.partial" / "state.json").is_file()
    return folder


def goes_on(unfinished: Path, folder: Path, change: Callable[[Path], object]) -> str:
    """Continue a changed copy of the unfinished run."""
    shutil.copytree(unfinished, folder)
    change(folder / ".out.partial")
    raw = unfinished / "raw" / "day"  # The path is part of the run's identity.
    try:
        preprocess(raw, folder / "out", MANY)
    except DLRMError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def finished(unfinished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the result that the run would have had."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    preprocess(unfinished / "raw" / "day", folder, MANY)
    return contents(folder)


def test_the_state_of_an_unfinished_run_may_be_nonsense(
    unfinished: Path, finished: dict[str, bytes], tmp_path: Path
) -> None:
    document = json.loads((unfinished / ".out.partial" / "state.json").read_text())
    places = [("state", name) for name in document["state"] if name != "key"] + [("state",), ("format",), ()]
    values = (-1, "x", 10**9, {"last_day": 0}, [], ...)
    work = CheckpointFolder(tmp_path / "out")
    shutil.copytree(unfinished / ".out.partial", work.path)
    assert work.load() is not None
    for number, place in enumerate(places):
        (work.path / "state.json").write_text(
            json.dumps(changed(document, place, values[number % 5 if not place else number % 6]))
        )
        assert work.load() is None
    text = json.dumps(changed(document, ("state", "kept_rows"), 0))
    assert not goes_on(unfinished, tmp_path / "copy", lambda work: (work / "state.json").write_text(text))
    assert contents(tmp_path / "copy" / "out") == finished


def test_the_state_of_an_unfinished_run_names_its_own_files_alone(unfinished: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy" / ".out.partial" / "state.json"
    (tmp_path / "victim").write_text("the user's own")

    def change(work: Path) -> None:
        state = CheckpointFolder(work.parent / "out").load()
        assert state is not None
        state.file_bytes["../../victim"] = 0
        CheckpointFolder(work.parent / "out").commit(state)

    message = goes_on(unfinished, tmp_path / "copy", change)
    assert f"{path}: names '../../victim', which is outside the folder" in message
    assert (tmp_path / "victim").read_text() == "the user's own"


@pytest.mark.parametrize(
    "name", ["statistics_1.npz", "counts_1.u4", "values_3.u4", "bucket_0", "last_day", "rejected.tsv"]
)
@pytest.mark.parametrize("damage", ["missing", "noise", "empty", "folder"])
def test_the_files_of_an_unfinished_run_may_be_nonsense(
    unfinished: Path, finished: dict[str, bytes], tmp_path: Path, name: str, damage: str
) -> None:
    message = goes_on(unfinished, tmp_path / "copy", lambda work: DAMAGES[damage](work / name))
    if message:
        assert ".out.partial" in message
    else:
        assert contents(tmp_path / "copy" / "out") == finished


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("name", ["counts_1.u4", "values_3.u4"])
@pytest.mark.parametrize("damage", [DAMAGES["noise"], DAMAGES["empty"], _zeros])
def test_damaged_tables_of_an_unfinished_run_are_noticed_with_and_without_native_code(
    unfinished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    name: str,
    damage: Callable[[Path], object],
) -> None:
    use_engine(engine, monkeypatch)
    assert "cannot be resumed" in goes_on(unfinished, tmp_path / "copy", lambda work: damage(work / name))
