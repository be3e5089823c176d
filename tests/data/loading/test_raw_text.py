"""Blocks of a raw log give the rows of its lines, wherever the blocks end and however the log is read."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.loading import raw_text
from dlrm_pl.data.loading.raw_text import text_rows
from dlrm_pl.data.raw_logs.reader import iter_raw_records
from dlrm_pl.errors import DataFormatError

CRITEO = Columns.criteo()


def lines_of(rows: int, *, label: bool = True) -> list[str]:
    rng = np.random.default_rng(rows)
    dense = rng.integers(-2, 50, (rows, CRITEO.num_dense)).astype(str)
    dense[rng.random(dense.shape) < 0.2] = ""
    sparse = [[f"{value:08x}" if value % 5 else "" for value in row] for row in rng.integers(0, 2**32, (rows, 26))]
    return ["\t".join([*[str(row % 2)] * label, *dense[row], *sparse[row]]) for row in range(rows)]


def records_of(path: Path) -> np.ndarray:
    parts = [
        np.stack([block.rows.label, *(raw.values for raw in (*block.rows.dense, *block.rows.sparse))], axis=1)
        for block in text_rows(path, CRITEO)
        if block.rows.label is not None
    ]
    return np.concatenate(parts)


def expected(path: Path) -> np.ndarray:
    return np.concatenate(list(iter_raw_records(path, 0, labelled=False)))


@pytest.mark.parametrize("isa", ["", "fallback"])
@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_hold_the_rows_of_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isa: str, label: bool, end: str
) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", isa)
    monkeypatch.setattr(raw_text, "BLOCK_BYTES", 700)  # Two or three lines.
    path = tmp_path / "log"
    path.write_bytes(end.join(lines_of(40, label=label)).encode() + (end * 3).encode())
    np.testing.assert_array_equal(records_of(path), expected(path))


@pytest.mark.parametrize("packed", [False, True])
def test_a_pipe_gives_the_rows_of_the_file(tmp_path: Path, packed: bool) -> None:
    text = "\n".join(lines_of(3000)).encode()
    (tmp_path / "log").write_bytes(text)
    os.mkfifo(tmp_path / "pipe")
    data = gzip.compress(text) if packed else text
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    np.testing.assert_array_equal(records_of(tmp_path / "pipe"), expected(tmp_path / "log"))
    writer.join()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[20].replace("\t", " "), r"log:21: has 1 field; expected 40"),
        (lambda lines: "", r"log:21: is blank, although more rows follow"),
        (lambda lines: "7" + lines[20][1:], r"log:21: field 1 \(label\) is '7'; expected 0 or 1"),
        (lambda lines: "x" * 50_000, r"log:21: is longer than 32,000 bytes"),
    ],
)
def test_an_invalid_line_is_named_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: object, message: str
) -> None:
    lines = lines_of(40)
    lines[20] = change(lines)  # type: ignore[operator]
    (tmp_path / "log").write_text("\n".join(lines))
    monkeypatch.setattr(raw_text, "BLOCK_BYTES", 40_000 if len(lines[20]) > 40_000 else 700)
    with pytest.raises(DataFormatError, match=message):
        records_of(tmp_path / "log")


def test_a_gz_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress("\n".join(lines_of(300)).encode())[:-200])
    with pytest.raises(DataFormatError, match=r"log\.gz: is truncated or corrupt"):
        records_of(tmp_path / "log.gz")
