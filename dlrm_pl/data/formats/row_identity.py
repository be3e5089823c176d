"""Identity of a range of rows, for cached results that are valid for these rows only."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import columns_or_criteo
from dlrm_pl.data.formats.block_checksum import block_bytes, file_checksum, is_of_blocks

MOST_BYTES = 2**30
"""Size up to which all rows are read: 6.7 million Criteo rows, half a second on two processors (1.1 GiB/s each)."""
NUM_SAMPLES = 64
"""Number of blocks in the sample of larger files."""


def checksum_of_rows(path: Path, start: int, stop: int, stated: str | None, columns: Columns | None = None) -> str:
    """Return a checksum of the rows as if they were a file; empty for more than 1 GiB that has none.

    Args:
        path: the file of a split.
        start: first row.
        stop: row after the last one.
        stated: checksum of the file that the dataset states; None if it states none. It is trusted if the range covers
            all rows of the file, because rows are checked against it whenever they are read.
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
        stop: row after the last one.
        stated: checksum of the file that the dataset states; None if it states none.
        columns: columns of the records; None: Criteo's.

    Returns:
        Above 1 GiB, the checksum covers 64 evenly spread blocks (see ``block_checksum``), the size of the file, the
        time of its last change and ``stated``. The same rows in a copied file therefore count as different. That only
        costs time; taking different rows for the same ones would make the result wrong.
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
