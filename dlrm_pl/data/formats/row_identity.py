"""Identity of a range of rows, for cached results that are valid for these rows only."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import columns_or_criteo
from dlrm_pl.data.formats.block_checksum import block_bytes, file_checksum, is_of_blocks

MOST_BYTES = 2**30
"""Size up to which all rows are read: 6.7 million of Criteo's, half a second on two processors (1.1 GiB/s each)."""
NUM_SAMPLES = 64
"""Number of blocks in the sample of larger files."""


def checksum_of_rows(path: Path, start: int, stop: int, stated: str | None, columns: Columns | None = None) -> str:
    """Return a checksum of the rows as if they were a file; empty for more than 1 GiB that has none.

    Args:
        path: the file of a split.
        start: first row.
        stop: row after the last.
        stated: what the dataset states as the checksum of the file, which is taken for its word where these are all of
            its rows: whoever reads them checks them by it. None where it states none.
        columns: columns of the records; None: Criteo's.
    """
    columns = columns_or_criteo(columns)
    first, last = start * columns.record_bytes, stop * columns.record_bytes
    if stated is not None and is_of_blocks(stated) and (first, last) == (0, path.stat().st_size):
        return stated
    return file_checksum(path, block_bytes(columns), first, last).text() if last - first <= MOST_BYTES else ""


def identity_of_rows(path: Path, start: int, stop: int, stated: str | None, columns: Columns | None = None) -> str:
    """Return a checksum of the rows; above 1 GiB, of a sample of them and of other properties of the file.

    Args:
        path: the file of a split.
        start: first row.
        stop: row after the last.
        stated: what the dataset states as the checksum of the file; None where it states none.
        columns: columns of the records; None: Criteo's.

    Returns:
        Of more than 1 GiB: over 64 blocks (see ``block_checksum``), evenly spread, the size of the file, the time of
        its last change and ``stated``. So the same rows in a file that was copied count as other ones: that costs
        time, and the other error would cost the result.
    """
    if checksum := checksum_of_rows(path, start, stop, stated, columns):
        return checksum
    columns = columns_or_criteo(columns)
    first, last, size = start * columns.record_bytes, stop * columns.record_bytes, block_bytes(columns)
    digest, now = hashlib.sha256(), path.stat()
    digest.update(f"{stated} {now.st_size} {now.st_mtime_ns}".encode())
    with path.open("rb") as handle:
        for sample in range(NUM_SAMPLES):
            handle.seek(first + (last - first - size) * sample // (NUM_SAMPLES - 1))
            digest.update(handle.read(size))
    return f"sample:{digest.hexdigest()}"
