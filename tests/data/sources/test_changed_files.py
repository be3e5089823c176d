"""A file that another program changes while it is read ends in an error that names it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.sources import source as source_module
from dlrm_pl.data.sources.readers import arrow_file
from dlrm_pl.data.sources.source import open_source
from dlrm_pl.errors import DataFormatError

COLUMNS = Columns("click", (DenseColumn(name="age"),), (SparseColumn(name="site"),))
TABLE = pa.table(
    {"click": [0, 1] * 600, "age": list(range(1200)), "site": [f"site {number % 7}" for number in range(1200)]}
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 256)


def write(path: Path) -> Path:
    if path.suffix == ".parquet":
        pa.parquet.write_table(TABLE, path, row_group_size=300)
    elif path.suffix == ".feather":
        pa.feather.write_feather(TABLE, str(path), chunksize=300, compression="uncompressed")
    elif path.suffix == ".arrows":
        with pa.ipc.new_stream(str(path), TABLE.schema) as writer:
            writer.write_table(TABLE, 300)
    else:
        pa.csv.write_csv(TABLE, path)
    return path


def _grown(path: Path) -> None:
    with path.open("ab") as handle:
        handle.write(b"more")


def _rewritten(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as handle:
        handle.write(bytes(100))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))  # File times have a coarse clock.


def _replaced(path: Path) -> None:
    write(path.with_name(f"new{path.suffix}")).replace(path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "grown": (_grown, "changed"),
    "rewritten": (_rewritten, "changed"),
    "cut short": (lambda path: os.truncate(path, 100), "changed"),
    "replaced": (_replaced, "replaced"),
    "removed": (Path.unlink, "removed"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.feather", "mapped.feather", "log.arrows"])
def test_a_file_that_changes_between_chunks_is_named(
    name: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "mapped.feather":
        monkeypatch.setattr(arrow_file, "_READ_BYTES", 1)
        if change == "cut short":
            pytest.skip("The system ends a process that reads a map of such a file.")
    path = write(tmp_path / name)
    happens, word = CHANGES[change]
    chunks = open_source(path, COLUMNS).chunks()
    next(chunks)
    happens(path)
    with pytest.raises(DataFormatError, match=f"^{re.escape(str(path))}: was {word}.*$"):
        list(chunks)


def test_a_chunk_that_was_read_before_the_change_is_not_used(tmp_path: Path) -> None:
    path = write(tmp_path / "log.feather")
    source = open_source(path, COLUMNS)
    raw = next(source.raw_chunks())
    _rewritten(path)
    with pytest.raises(DataFormatError, match="was changed while it was being read"):
        source.convert(raw)


def test_the_column_of_days_is_of_the_same_file(tmp_path: Path) -> None:
    path = write(tmp_path / "log.parquet")
    source = open_source(path, COLUMNS)
    _replaced(path)
    with pytest.raises(DataFormatError, match="was replaced while it was being read"):
        list(source.column_batches("site", 0))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather"])
def test_preprocessing_stops_and_leaves_nothing(suffix: str, change: str, tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"part-{number}.{suffix}") for number in range(2))
    (tmp_path / "log").mkdir()
    first, second = (path.rename(tmp_path / "log" / path.name) for path in (first, second))
    happened = []

    def progress(stage: str, share: float, rows: int) -> None:
        del share, rows
        if stage == "reading" and not happened:
            happened.append(CHANGES[change][0](second))

    options = PreprocessOptions(columns=COLUMNS, workers=1)
    with pytest.raises(DataFormatError, match=f"^{re.escape(str(second))}: was {CHANGES[change][1]}"):
        preprocess(tmp_path / "log", tmp_path / "out", options, progress=progress)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("log", f"new.{suffix}")] == []


def test_a_file_that_was_already_read_must_not_change_either(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    first, _ = (write(tmp_path / "log" / f"part-{number}.parquet") for number in range(2))
    seen = []

    def progress(stage: str, share: float, rows: int) -> None:
        del share
        seen.append(rows)
        if stage == "reading" and sum(seen) == 2 * TABLE.num_rows:
            _grown(first)

    options = PreprocessOptions(columns=COLUMNS, workers=1)
    with pytest.raises(DataFormatError, match=r"part-0\.parquet: was changed"):
        preprocess(tmp_path / "log", tmp_path / "out", options, progress=progress)
