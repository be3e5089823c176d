"""Blocks of a file are checked one by one, and a changed block is named by its rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats import block_digests
from dlrm_pl.data.formats.block_checksum import block_bytes, file_checksum
from dlrm_pl.data.formats.block_digests import BlockDigests, digests_path
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.errors import DataFormatError

BLOCK_BYTES = block_bytes(Columns.criteo())
ROWS = BLOCK_BYTES // 160
BLOCKS = 9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write nine blocks of zeros, the last with three rows, and their digests."""
    path = tmp_path / "rows.bin"
    path.write_bytes(bytes((BLOCKS - 1) * BLOCK_BYTES + 3 * 160))
    digests_path(path).write_bytes(file_checksum(path, BLOCK_BYTES).digests())
    return path


def digests(path: Path) -> BlockDigests:
    stated = f"sha256/{BLOCK_BYTES}:{hashlib.sha256(digests_path(path).read_bytes()).hexdigest()}"
    found = BlockDigests.load(path, stated)
    assert found is not None
    return found


def write(path: Path, place: int) -> None:
    with path.open("r+b") as handle:
        handle.seek(place)
        handle.write(b"\1")


@pytest.mark.parametrize(
    ("place", "rows"),
    [
        (0, "0 to 8,191"),
        (BLOCK_BYTES - 1, "0 to 8,191"),
        (5 * BLOCK_BYTES, "40,960 to 49,151"),
        ((BLOCKS - 1) * BLOCK_BYTES, "65,536 to 65,538"),
    ],
)
def test_changed_block_is_named_by_its_rows(path: Path, place: int, rows: str) -> None:
    digests(path).check_all()
    write(path, place)
    with pytest.raises(DataFormatError, match=rf"rows\.bin: rows {rows} do not match"):
        digests(path).check_all()


def test_samples_have_both_ends(path: Path) -> None:
    assert digests(path).check_samples() == 4
    for place in (0, (BLOCKS - 1) * BLOCK_BYTES):
        write(path, place)
        with pytest.raises(DataFormatError, match="do not match"):
            digests(path).check_samples()


def test_file_of_another_number_of_blocks_is_refused(path: Path) -> None:
    with path.open("ab") as handle:
        handle.write(bytes(BLOCK_BYTES))
    with pytest.raises(DataFormatError, match=r"rows\.blocks: does not match rows\.bin"):
        digests(path)


def test_rows_are_checked_when_they_are_read_and_no_others(path: Path) -> None:
    write(path, 3 * BLOCK_BYTES + 4)
    changed = range(3 * ROWS, 4 * ROWS)
    rows = ClickDataset(path, [1] * 26, start=100, digests=digests(path))
    assert len(rows[0 : changed[0] - 100].labels) == changed[0] - 100
    assert len(rows[np.array([changed[-1] + 1 - 100, 5])].labels) == 2
    for selection in (slice(changed[0] - 101, changed[0] - 99), np.array([5, changed[-1] - 100])):
        with pytest.raises(DataFormatError, match="rows 24,576 to 32,767 do not match"):
            rows[selection]
    assert len(ClickDataset(path, [1] * 26)[changed[0] : changed[-1]].labels) == ROWS - 1


def test_block_is_checked_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    monkeypatch.setattr(BlockDigests, "_check", lambda self, block, data: hashed.append((block, len(data))))
    rows = ClickDataset(path, [1] * 26, digests=digests(path))
    for _ in range(2):
        for batch in rows.batches(ROWS // 3):
            assert batch.num_samples
    assert hashed == [*((block, BLOCK_BYTES) for block in range(BLOCKS - 1)), (BLOCKS - 1, 480)]
    assert block_digests.digests_path(path).is_file()
