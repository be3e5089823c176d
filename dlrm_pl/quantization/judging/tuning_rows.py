"""Rows that trials are scored on: read as far as needed, with their labels and fp32 logits kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.errors import BaselineError, DLRMError
from dlrm_pl.quantization.judging.evaluation import labels_of, score_batch


class TuningRows:
    """Labels and fp32 logits of the tuning rows, computed when they are first read, and kept for all trials.

    Memory: 5 bytes for each row read so far, regardless of the model.

    Args:
        batches: re-iterable batches that always give the same rows in the same order.
        fp32_model: model that trials are compared with.
        max_rows: maximum number of rows to read.
    """

    def __init__(self, batches: Iterable[ClickBatch], fp32_model: nn.Module, max_rows: int | None = None) -> None:
        self._batches = batches
        self._model = fp32_model
        self._max_rows = max_rows
        self._labels = _Growing(np.uint8)
        self._fp32 = _Growing(np.float32)
        self.fp32_seconds = 0.0

    def labels(self, rows: int) -> npt.NDArray[np.uint8]:
        """Return the labels of the first rows, which must have been read."""
        return self._labels.first(rows)

    def fp32(self, rows: int) -> npt.NDArray[np.float32]:
        """Return the logits of the fp32 model on the first rows, which must have been read."""
        return self._fp32.first(rows)

    @property
    def rows_read(self) -> int:
        """Number of rows whose labels and fp32 logits are known."""
        return len(self._labels)

    def batches(self) -> Iterator[ClickBatch]:
        """Yield the rows from the first on, up to ``max_rows``."""
        rows = 0
        for batch in self._batches:
            room = batch.num_samples if self._max_rows is None else self._max_rows - rows
            if room < batch.num_samples:
                batch = first_samples(batch, room)
            if batch.num_samples:
                yield batch
            rows += batch.num_samples
            if rows == self._max_rows:
                return

    def score_fp32(self, batch: ClickBatch, first_row: int) -> None:
        """Compute labels and fp32 logits of the batch that begins at ``first_row``, unless they are known.

        Raises:
            BaselineError: a label is neither 0 nor 1, or the fp32 model returned NaN or infinity; the message names the
                row.
        """
        if first_row < self.rows_read:
            return
        try:
            labels = labels_of(batch, first_row)
            logits, seconds = score_batch(self._model, batch, first_row)
        except DLRMError as error:
            raise BaselineError(f"The fp32 model cannot be scored on the tuning rows: {error}") from error
        self.fp32_seconds += seconds
        self._fp32.append(logits.numpy())
        self._labels.append(labels)

    def read_fp32(self, rows: int) -> int:
        """Score whole batches with fp32 until there are at least ``rows`` rows, or none are left; return their number.

        The number does not depend on what was read before, so that a resumed search sees the same rows.
        """
        read = 0
        for batch in self.batches():
            self.score_fp32(batch, read)
            read += batch.num_samples
            if read >= rows:
                break
        return read

    def reading(self, model: nn.Module) -> Reading:
        """Start scoring a model from the first row on."""
        return Reading(self, model)


class Reading:
    """One model's pass over the tuning rows, as far as the caller requests.

    Attributes:
        rows: number of rows scored so far.
        seconds: time of the model's forward passes.
        exhausted: whether there are no more rows.
    """

    def __init__(self, source: TuningRows, model: nn.Module) -> None:
        self._source = source
        self._model = model
        self._batches = source.batches()
        self._logits = _Growing(np.float32)
        # Read one batch ahead, because each look must know whether it is the last.
        self._next = next(self._batches, None)
        self.seconds = 0.0

    @property
    def rows(self) -> int:
        """Number of rows scored so far."""
        return len(self._logits)

    @property
    def exhausted(self) -> bool:
        """True if all rows have been read."""
        return self._next is None

    def read_to(self, rows: int) -> int:
        """Score whole batches until there are at least ``rows`` rows, or none are left; return the rows scored so far.

        Raises:
            NonFiniteError: the model returned NaN or infinity; the message names the row.
            BaselineError: see ``TuningRows.score_fp32``.
        """
        while self.rows < rows and self._next is not None:
            self._source.score_fp32(self._next, self.rows)
            logits, seconds = score_batch(self._model, self._next, self.rows)
            self.seconds += seconds
            self._logits.append(logits.numpy())
            self._next = next(self._batches, None)
        return self.rows

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """Logits of the model on the rows so far, ``[rows]``."""
        return self._logits.first(self.rows)

    @property
    def fp32(self) -> npt.NDArray[np.float32]:
        """Logits of the fp32 model on the same rows, ``[rows]``."""
        return self._source.fp32(self.rows)

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Labels of the same rows, ``[rows]``."""
        return self._source.labels(self.rows)


Number = TypeVar("Number", np.float32, np.uint8)


class _Growing(Generic[Number]):
    """An array that grows as values are appended; its capacity doubles when it is full."""

    def __init__(self, dtype: type[Number]) -> None:
        self._values: npt.NDArray[Number] = np.empty(1 << 16, dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, values: npt.NDArray[Number]) -> None:
        length = self._length + len(values)
        if length > len(self._values):
            grown = np.empty(max(length, 2 * len(self._values)), self._values.dtype)
            grown[: self._length] = self._values[: self._length]
            self._values = grown
        self._values[self._length : length] = values
        self._length = length

    def first(self, rows: int) -> npt.NDArray[Number]:
        assert rows <= self._length
        return self._values[:rows]
