"""NumPy fallback of the native functions: the same bytes, about ten times slower."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.preprocessing.engine.library import library
from dlrm_pl.data.preprocessing.engine.native import (
    DENSE_BINS,
    Files,
    Keyed,
    Matrix,
    NativeEngine,
    Numbers,
    Order,
    outside_mapping,
)
from dlrm_pl.data.preprocessing.engine.native_tables import Values, repeated_value
from dlrm_pl.data.preprocessing.threads import Pipeline
from dlrm_pl.data.raw_logs.line import Label, values_of_line, without_newline
from dlrm_pl.data.splitmix64 import splitmix64
from dlrm_pl.errors import ShapeError
from dlrm_pl.files.complete_io import write_all

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_COUNT_MAX = np.iinfo(np.uint32).max


class Table(Protocol):
    """Maps raw values to numbers by first appearance; see ``NativeTable``."""

    @property
    def nbytes(self) -> int: ...  # noqa: D102

    def __len__(self) -> int: ...

    def read(self, first: int = 0) -> tuple[Values, Values]: ...  # noqa: D102

    def restore(self, values: Values, counts: Values) -> None: ...  # noqa: D102


class TablePipeline(Protocol):
    """Tables through which chunks pass in turn; see ``NativeTablePipeline``."""

    def number(self, chunk: int, columns: Matrix, rows: int, *, learn: bool) -> None: ...  # noqa: D102

    def stop(self) -> None: ...  # noqa: D102


class NumPyTable:
    """NumPy fallback of ``NativeTable``, with a dict."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._counts = np.zeros(0, np.uint32)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def nbytes(self) -> int:
        """Approximate memory of the table, in bytes."""
        return 100 * len(self)

    def add(self, column: Numbers) -> None:
        """Replace raw values by their numbers; new values get the next ones."""
        # Each distinct value is looked up once, in the order of first appearance.
        values, first, inverse, counts = np.unique(
            column.view(np.uint32), return_index=True, return_inverse=True, return_counts=True
        )
        numbers = np.empty(len(values), np.int32)
        for place in np.argsort(first):
            numbers[place] = self._numbers.setdefault(int(values[place]), len(self._numbers))
        longer = np.zeros(len(self), np.uint32)
        longer[: len(self._counts)] = self._counts
        longer[numbers] = np.minimum(longer[numbers].astype(np.int64) + counts, _COUNT_MAX)
        self._counts = longer
        column[:] = numbers[inverse]

    def find(self, column: Numbers) -> None:
        """Replace raw values by their numbers, and unknown ones by -1."""
        values, inverse = np.unique(column.view(np.uint32), return_inverse=True)
        column[:] = np.array([self._numbers.get(int(value), -1) for value in values], np.int32)[inverse]

    def read(self, first: int = 0) -> tuple[Values, Values]:
        """Return the values in the order of their numbers from ``first`` on, and the counts of all."""
        return np.fromiter(self._numbers, np.uint32, len(self))[first:], self._counts.copy()

    def restore(self, values: Values, counts: Values) -> None:
        """Restore the table that ``read`` returned."""
        if len(np.unique(values)) < len(values):
            raise repeated_value(values)
        self._numbers = {int(value): number for number, value in enumerate(values)}
        self._counts = np.array(counts, np.uint32)


class NumPyTablePipeline:
    """A pipeline of NumPy tables; see ``NativeTablePipeline``."""

    def __init__(self, tables: Sequence[NumPyTable]) -> None:
        self._tables = tables
        self._pipeline = Pipeline(len(tables))

    def number(self, chunk: int, columns: Matrix, rows: int, *, learn: bool) -> None:
        """Replace raw values by their numbers."""
        for stage, (table, column) in enumerate(zip(self._tables, columns[-len(self._tables) :], strict=True)):
            with self._pipeline.turn(stage, chunk):
                (table.add if learn else table.find)(column[:rows])

    def stop(self) -> None:
        """Wake all waiting threads, which end with StoppedError."""
        self._pipeline.stop()


class Engine(Protocol):
    """Computations of preprocessing; ``NativeEngine`` documents each method."""

    name: str

    def table(self) -> Table: ...  # noqa: D102

    def pipeline(self, tables: Sequence[Any]) -> TablePipeline: ...  # noqa: D102

    def parse(  # noqa: D102
        self,
        text: npt.NDArray[np.uint8],
        size: int,
        modulus: int,
        columns: Matrix,
        missing: npt.NDArray[np.int64],
        histogram: npt.NDArray[np.int64],
        largest: npt.NDArray[np.int64],
        bad: npt.NDArray[np.int64],
        label: Label = "needed",
        *,
        keep_negatives: bool = False,
    ) -> tuple[int, int, int]: ...

    def records(self, columns: Matrix, rows: int, out: npt.NDArray[np.int32]) -> None: ...  # noqa: D102

    def scatter(  # noqa: D102
        self, columns: Matrix, rows: int, seed: int, first_row: int, buckets: int, out: Keyed
    ) -> npt.NDArray[np.int64]: ...

    def append(self, files: Files, keyed: Keyed, sizes: npt.NDArray[np.int64]) -> None: ...  # noqa: D102

    def order(self, keyed: Keyed) -> Order: ...  # noqa: D102

    def take(self, keyed: Keyed, order: Order, out: npt.NDArray[np.int32]) -> int: ...  # noqa: D102

    def swap(self, values: Order, targets: npt.NDArray[np.int64]) -> None: ...  # noqa: D102

    def remap(self, records: npt.NDArray[np.int32], field: int, mapping: Numbers) -> None: ...  # noqa: D102


class NumPyEngine:
    """Computations of preprocessing in NumPy; see ``NativeEngine``."""

    name = "numpy"

    def table(self) -> Table:
        """Return a new table."""
        return NumPyTable()

    def pipeline(self, tables: Sequence[NumPyTable]) -> TablePipeline:
        """Return a pipeline of tables through which chunks pass in order."""
        return NumPyTablePipeline(tables)

    def parse(
        self,
        text: npt.NDArray[np.uint8],
        size: int,
        modulus: int,
        columns: Matrix,
        missing: npt.NDArray[np.int64],
        histogram: npt.NDArray[np.int64],
        largest: npt.NDArray[np.int64],
        bad: npt.NDArray[np.int64],
        label: Label = "needed",
        *,
        keep_negatives: bool = False,
    ) -> tuple[int, int, int]:
        """Parse whole lines."""
        fields, num_dense = len(columns), len(histogram)
        parsed: list[list[int]] = []
        offset = lines = bads = 0
        for line in io.BytesIO(text[:size].tobytes()):
            stripped = without_newline(line)
            values = values_of_line(
                stripped, num_dense, fields - 1 - num_dense, modulus, label, keep_negatives=keep_negatives
            )
            if values is not None:
                parsed.append(values)
                absent = label == "absent"
                missing[0] += absent
                for field, content in enumerate(stripped.split(b"\t"), start=int(absent)):
                    missing[field] += not content
            elif bads == bad.shape[1]:
                break
            else:
                bad[:, bads] = offset, lines
                bads += 1
            offset += len(line)
            lines += 1
        rows = np.array(parsed, np.int64).reshape(-1, fields)
        columns[:, : len(rows)] = rows.T.astype(np.uint32).view(np.int32)
        for feature in range(num_dense):
            binned = np.clip(rows[:, 1 + feature], 0, DENSE_BINS - 1)
            histogram[feature] += np.bincount(binned, minlength=DENSE_BINS)
            largest[feature] = max(largest[feature], rows[:, 1 + feature].max(initial=0))
        return len(rows), lines, bads

    def records(self, columns: Matrix, rows: int, out: npt.NDArray[np.int32]) -> None:
        """Transpose columns to records."""
        out[:rows] = columns[:, :rows].T

    def scatter(
        self, columns: Matrix, rows: int, seed: int, first_row: int, buckets: int, out: Keyed
    ) -> npt.NDArray[np.int64]:
        """Write columns as keyed records grouped by bucket."""
        keys = row_keys(seed, first_row, rows)
        bucket = ((keys >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
        order = np.argsort(bucket, kind="stable")
        out["key"][:rows] = keys[order]
        out["record"][:rows] = columns[:, :rows].T[order]
        return np.bincount(bucket.astype(np.int64), minlength=buckets)

    def append(self, files: Files, keyed: Keyed, sizes: npt.NDArray[np.int64]) -> None:
        """Append each bucket's records to its file."""
        for file, records in zip(files.tolist(), np.split(keyed[: sizes.sum()], np.cumsum(sizes)[:-1]), strict=True):
            write_all(file, records.tobytes())

    def order(self, keyed: Keyed) -> Order:
        """Return the row numbers in the order of their keys."""
        return np.argsort(keyed["key"]).astype(np.uint32)

    def take(self, keyed: Keyed, order: Order, out: npt.NDArray[np.int32]) -> int:
        """Copy the records of some rows."""
        if order.max(initial=0) >= max(len(keyed), 1):
            raise ShapeError(f"The order has row {order.max()}, but there are only {len(keyed)} records.")
        out[:] = keyed["record"][order]
        return int(np.count_nonzero(out[:, 0]))

    def swap(self, values: Order, targets: npt.NDArray[np.int64]) -> None:
        """Swap the last values with those at the targets, one after the other."""
        if len(targets) > len(values) or (targets < 0).any() or (targets >= len(values)).any():
            raise ShapeError(f"A target is outside the {len(values)} values to swap.")
        swapped = values.tolist()
        for step, target in enumerate(targets.tolist(), start=1):
            swapped[-step], swapped[target] = swapped[target], swapped[-step]
        values[:] = swapped

    def remap(self, records: npt.NDArray[np.int32], field: int, mapping: Numbers) -> None:
        """Replace each number of a column."""
        numbers = records[:, field]
        wrong = np.flatnonzero((numbers < 0) | (numbers >= len(mapping)))
        if len(wrong):
            raise outside_mapping(int(wrong[0]), field, int(numbers[wrong[0]]), len(mapping))
        records[:, field] = mapping[numbers]


@cache
def engine() -> Engine:
    """Return the native engine, or the NumPy fallback if the native code was not built."""
    native = library()
    return NumPyEngine() if native is None else NativeEngine(native)


def row_keys(seed: int, first_row: int, rows: int) -> npt.NDArray[np.uint64]:
    """Return a distinct 64-bit key for each row: splitmix64 of the seed and the row number."""
    numbers = np.arange(first_row, first_row + rows, dtype=np.uint64)
    with np.errstate(over="ignore"):  # Unsigned products are meant to wrap around.
        return splitmix64(splitmix64(np.array([seed], np.uint64)) + numbers * _GOLDEN)
