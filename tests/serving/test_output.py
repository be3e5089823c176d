"""The files that probabilities are written to."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from dlrm_pl.data.sources.kept import KeptColumns
from dlrm_pl.errors import ConfigurationError, DataFormatError, OutputError
from dlrm_pl.serving import output
from dlrm_pl.serving.output import check_predictions_path, write_predictions

VALUES = np.random.default_rng(0).random(5000, dtype=np.float32)


@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_every_bit_comes_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"p.{ending}"
    assert write_predictions(path, np.array_split(VALUES, 7)) == len(VALUES)
    if ending == "parquet":
        found = pq.read_table(path).column("probability").to_numpy()
    else:
        found = np.load(path) if ending == "npy" else np.loadtxt(path, skiprows=1, dtype=np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_full_disk_is_told_as_such(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    @contextmanager
    def on_a_full_disk(path: Path, mode: str = "w", *, sinks: bool = False) -> Iterator[IO[Any]]:
        with Path("/dev/full").open(mode) as handle:
            yield handle

    monkeypatch.setattr(output, "atomic_file", on_a_full_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        write_predictions(Path(f"p.{ending}"), [VALUES])
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_no_rows_make_a_file_of_none(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"p.{ending}"
    assert write_predictions(path, []) == 0
    if ending == "parquet":
        assert pq.read_table(path).schema == pa.schema([("probability", pa.float32())])
    elif ending == "npy":
        assert np.load(path).shape == (0,)
    else:
        assert path.read_text() == "probability\n"


def test_a_npy_is_written_while_rows_are_scored(tmp_path: Path) -> None:
    sizes = []

    def batches() -> Iterator[np.ndarray]:
        for _ in range(4):
            yield VALUES
            (written,) = tmp_path.iterdir()
            sizes.append(written.stat().st_size)

    write_predictions(tmp_path / "p.npy", batches())
    assert sizes[-1] > 2 * VALUES.nbytes


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_kept_columns_stand_beside_the_probabilities_whatever_the_batches(tmp_path: Path, ending: str) -> None:
    kept = KeptColumns(["id", "name"])
    names = [f'n"{row},' if row % 3 else None for row in range(len(VALUES))]
    for start in range(0, len(VALUES), 700):
        part = slice(start, start + 700)
        table = pa.table({"other": VALUES[part], "id": np.arange(len(VALUES))[part], "name": names[part]})
        kept.add(table.set_column(2, "name", table.column("name").cast(pa.binary())))
    path = tmp_path / f"p.{ending}"
    assert write_predictions(path, np.array_split(VALUES, 11), kept) == len(VALUES)
    found = pq.read_table(path) if ending == "parquet" else pyarrow.csv.read_csv(path)
    assert found.column_names == ["id", "name", "probability"]
    assert found.column("id").to_pylist() == list(range(len(VALUES)))
    assert [name or None for name in found.column("name").to_pylist()] == names
    np.testing.assert_array_equal(found.column("probability").to_numpy().astype(np.float32), VALUES)


def test_probabilities_have_the_same_text_with_and_without_kept_columns(tmp_path: Path) -> None:
    powers = np.random.default_rng(1).integers(-45, 1, 5000)
    values = np.concatenate([VALUES, VALUES * 10.0**powers, 10.0 ** np.arange(-45, 1), [0]]).astype(np.float32)
    kept = KeptColumns(["id"])
    kept.add(pa.table({"id": np.arange(len(values))}))
    write_predictions(tmp_path / "kept.csv", [values], kept)
    write_predictions(tmp_path / "alone.csv", [values])
    beside = [line.partition(",")[2] for line in (tmp_path / "kept.csv").read_text().splitlines()[1:]]
    assert beside == (tmp_path / "alone.csv").read_text().splitlines()[1:]
    np.testing.assert_array_equal(np.array(beside, np.float64).astype(np.float32), values)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_pipe_gets_nothing_before_rows_are_scored(tmp_path: Path, keeps: bool) -> None:
    def refused() -> Iterator[np.ndarray]:
        raise DataFormatError("bad rows")
        yield VALUES

    reader, writer = os.pipe()
    try:
        with pytest.raises(DataFormatError, match="bad rows"):
            write_predictions(Path(f"/dev/fd/{writer}"), refused(), KeptColumns(["id"]) if keeps else None)
        if not keeps:
            assert write_predictions(Path(f"/dev/fd/{writer}"), iter([])) == 0
        os.close(writer)
        assert os.read(reader, 100) == (b"" if keeps else b"probability\n")
    finally:
        os.close(reader)


def test_lists_are_kept_in_parquet_alone(tmp_path: Path) -> None:
    for ending in ("parquet", "csv"):
        kept = KeptColumns(["tags"])
        kept.add(pa.table({"tags": [["a"], []]}))
        if ending == "csv":
            with pytest.raises(DataFormatError, match=r"column tags has lists, .* Write \.parquet"):
                write_predictions(tmp_path / "p.csv", [VALUES[:2]], kept)
        else:
            write_predictions(tmp_path / "p.parquet", [VALUES[:2]], kept)
            assert pq.read_table(tmp_path / "p.parquet").column("tags").to_pylist() == [["a"], []]


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a", "b", "a"], "keep has the column a twice"), (["probability"], "named probability cannot be kept")],
)
def test_names_that_cannot_be_kept(names: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        KeptColumns(names)


def test_the_rows_to_score_are_not_replaced_by_their_predictions(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("age\n1\n")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OutputError, match=r"rows\.csv: is the file of the rows to score\. Write the predictions to"):
        check_predictions_path(tmp_path / "link" / "rows.csv", rows=str(rows))
    with pytest.raises(OutputError, match=r"new\.csv: is in .*link, the folder of the rows to score\."):
        check_predictions_path(tmp_path / "new.csv", rows=tmp_path / "link")
    check_predictions_path(tmp_path / "new.csv", rows=rows)
    check_predictions_path(tmp_path / "scores" / "new.csv", rows=tmp_path)
    check_predictions_path(Path("/dev/stdout"), rows="/dev")
