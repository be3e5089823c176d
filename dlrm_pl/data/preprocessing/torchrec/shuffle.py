"""Reorder rows bucket by bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.preprocessing.torchrec.day_writer import DayWriter
from dlrm_pl.data.preprocessing.torchrec.row_columns import Block
from dlrm_pl.files.complete_io import write_all

Array = npt.NDArray[Any]


class RowBuckets:
    """Rows in files by their target positions: each bucket has rows with neighbouring positions.

    Args:
        folder: folder for the files.
        rows: number of rows.
        num_dense: number of dense values in a row.
        num_sparse: number of ids in a row.
        bucket_rows: maximum number of rows in a bucket.
    """

    def __init__(self, folder: Path, rows: int, *, num_dense: int, num_sparse: int, bucket_rows: int) -> None:
        self._folder = folder
        self._rows = rows
        self._bucket_rows = bucket_rows
        self._count = -(-rows // bucket_rows)
        self._type = np.dtype(
            [("place", "<u4"), ("dense", "<f4", (num_dense,)), ("label", "<i4"), ("ids", "<i4", (num_sparse,))]
        )

    @staticmethod
    def row_bytes(num_dense: int, num_sparse: int) -> int:
        """Return the size of a row in a bucket, in bytes."""
        return 4 * (2 + num_dense + num_sparse)

    def open(self, stack: ExitStack) -> list[IO[bytes]]:
        """Open the files; the stack closes them."""
        return [stack.enter_context(self._path(number).open("wb", buffering=0)) for number in range(self._count)]

    def add(self, files: Sequence[IO[bytes]], block: Block, places: Array) -> None:
        """Append rows to their buckets.

        Args:
            files: the open files.
            block: the rows; labels and ids pass through float32, as in TorchRec's script.
            places: the target position of each row.
        """
        buckets, within = np.divmod(places.astype(np.int64), self._bucket_rows)
        order = np.argsort(buckets, kind="stable")
        rows = np.empty(len(order), self._type)
        rows["place"], rows["dense"], rows["label"] = within[order], block.dense[order], block.labels[order]
        # TorchRec's script holds everything in one float32 array, so ids beyond 2**24 are rounded.
        rows["ids"] = block.ids[order].astype(np.float32).astype(np.int32)
        ends = np.cumsum(np.bincount(buckets, minlength=self._count))
        for number in np.unique(buckets):
            start = int(ends[number - 1]) if number else 0
            write_all(files[number].fileno(), rows[start : int(ends[number])].view(np.uint8).data)

    def write(self, writers: Sequence[DayWriter], rows_of_days: Sequence[int], advance: Callable[[int], None]) -> None:
        """Write the rows of each bucket to the days that their positions belong to, and remove its file.

        Args:
            writers: files of each day.
            rows_of_days: number of rows of each day.
            advance: called with the number of rows written.
        """
        ends = np.cumsum(rows_of_days)
        for number in range(self._count):
            found = np.fromfile(self._path(number), self._type)
            rows = np.empty_like(found)
            rows[found["place"]] = found
            del found
            first = number * self._bucket_rows
            for day, end in enumerate(ends.tolist()):
                before = end - rows_of_days[day]
                start, stop = max(first, before), min(first + len(rows), end)
                if start < stop:
                    some = rows[start - first : stop - first]
                    writers[day].write(start - before, some["dense"], some["label"], some["ids"])
            self._path(number).unlink()
            advance(len(rows))

    def _path(self, number: int) -> Path:
        return self._folder / f"rows_{number}.bin"
