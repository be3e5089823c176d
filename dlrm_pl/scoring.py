"""Click probabilities of a model for rows in any form that a caller has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch, to_batch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ConfigurationError, ShapeError
from dlrm_pl.files.watched import Watch

if TYPE_CHECKING:
    from dlrm_pl.data.formats.row_encoder import RowEncoder

Probabilities = npt.NDArray[np.float32]

ROWS_AT_A_TIME = 8192
"""Number of rows of arrays and frames that are scored at a time, unless the caller states another."""

# torch computes a tensor's values in vectors of up to 32 floats, and the remaining ones one by one, with an exp that
# differs in the last bits. It splits the values between threads if there are at least twice ``_ONE_THREAD``.
_VECTOR = 64
_ONE_THREAD = 16384


class Scorer:
    """A model that turns rows into click probabilities.

    Args:
        model: function from a batch to its logits ``[B]``.
        num_dense: number of dense features that the model takes.
        num_tables: number of the model's tables.
        watch: watches the files that the model's weights are mapped from, which must not be changed in place meanwhile.
        columns: columns of the model's rows; None if they are not known.
        encoder: returns the encoder that turns raw values into ids; None for a model without a vocabulary.
    """

    def __init__(
        self,
        model: Callable[[ClickBatch], Tensor],
        num_dense: int,
        num_tables: int,
        watch: Watch,
        columns: Columns | None = None,
        encoder: Callable[[], RowEncoder] | None = None,
    ) -> None:
        self._model = model
        self._num_dense = num_dense
        self._num_tables = num_tables
        self._watch = watch
        self._columns = columns
        self._encoder = encoder

    def probabilities(self, batch: ClickBatch) -> Probabilities:
        """Score one batch.

        Returns:
            Click probability of each sample, float32 ``[B]``.

        Raises:
            ShapeError: the batch has another number of dense features or tables than the model.
            LookupIndexError: an index is outside its table.
            ArtifactError, CheckpointError: a file of the model was changed in place; this is checked once a second.
        """
        self._watch.glance()
        with torch.inference_mode():
            return probabilities_of(self._model(batch))

    def stream(
        self, batches: Iterable[ClickBatch], progress: Callable[[int], None] = lambda rows: None
    ) -> Iterator[Probabilities]:
        """Score batch after batch.

        Args:
            batches: batches, which are read one at a time.
            progress: called after each batch with its number of rows.

        Raises:
            ArtifactError, CheckpointError: a file of the model was changed in place before the last batch was scored.
        """
        for batch in batches:
            yield self.probabilities(batch)
            progress(batch.num_samples)
        self._watch.check()

    def predict(self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME, raw: bool | None = None) -> Probabilities:
        """Score rows.

        Args:
            rows: a ``ClickBatch``; a pair of arrays or tensors (dense ``[B, N]``, sparse ``[B, T]``), or a dict with
                these two names; a frame; a ``ClickDataset``; or a ``DataLoader`` or any iterable of these. As in
                ``ClickBatch.from_arrays`` and ``from_frame``, dense features in arrays are values from the log, and
                sparse ones are ids from the dataset's dictionaries. Labels are ignored.
            batch_size: number of rows of arrays, frames and datasets that are scored at a time.
            raw: whether frames hold raw values, as a log does, which are turned into ids; otherwise they have columns
                I1, I2, ... and C1, C2, ... with ids. None: raw values, unless the model's columns are Criteo's or not
                known.

        Returns:
            Click probabilities in the order of the rows, float32 ``[rows]``.

        Raises:
            ConfigurationError: ``rows`` has an unsupported type, ``batch_size`` is below 1, or a frame holds raw values
                and the model has no vocabulary.
            DataFormatError: a column of a frame with raw values is missing, or a value does not fit it.
            ShapeError: the rows have another number of dense features or tables than the model.
            LookupIndexError: an index is outside its table.
        """
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size} must be at least 1.")
        if raw is None:
            raw = self._columns is not None and not self._columns.is_criteo
        parts = list(self.stream(self._batches(rows, batch_size, raw)))
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _batches(self, rows: Any, batch_size: int, raw: bool) -> Iterator[ClickBatch]:
        """Yield the batches of the rows that ``predict`` was given."""
        if isinstance(rows, ClickBatch):
            yield rows
        elif callable(getattr(rows, "batches", None)):
            yield from rows.batches(batch_size)
        elif isinstance(rows, Mapping) and {"dense", "sparse"} <= rows.keys():
            yield from self._of_arrays(rows["dense"], rows["sparse"], batch_size)
        elif isinstance(rows, Mapping) or hasattr(type(rows), "columns") or hasattr(rows, "__arrow_c_stream__"):
            yield from self._of_raw_frame(rows, batch_size) if raw else self._of_frame(rows, batch_size)
        elif _are_arrays(rows):
            if len(rows) not in (2, 3):
                raise ConfigurationError(f"{len(rows)} arrays were given, but predict takes two: dense and sparse.")
            yield from self._of_arrays(rows[0], rows[1], batch_size)
        elif isinstance(rows, Iterable) and not isinstance(rows, str | bytes) and not _is_array(rows):
            for part in rows:
                yield from self._batches(part, batch_size, raw)
        else:
            raise ConfigurationError(
                "predict takes a ClickBatch, a pair of arrays (dense, sparse), a frame, or an iterable of these, not a "
                f"value of type {type(rows).__name__}."
            )

    def _of_raw_frame(self, frame: Any, batch_size: int) -> Iterator[ClickBatch]:
        # Imported here, since a server that takes ids does not need these modules.
        from dlrm_pl.data.encoding.encoders import encoder_of_columns
        from dlrm_pl.data.encoding.frames import records_of_frame

        encoder = encoder_of_columns(self._columns) if self._encoder is None else self._encoder()
        if encoder is None:
            raise ConfigurationError(
                "The frame holds raw values, but this model has no vocabulary that maps them to ids. Make batches "
                "with ClickBatch.from_frame(frame, folder), where folder is its dataset folder."
            )
        records, _ = records_of_frame(frame, encoder, labels="absent")
        for start in range(0, len(records), batch_size):
            yield to_batch(records[start : start + batch_size], encoder.columns)

    def _of_frame(self, frame: Any, batch_size: int) -> Iterator[ClickBatch]:
        batch = ClickBatch.from_frame(frame, num_dense=self._num_dense, num_sparse=self._num_tables)
        for start in range(0, batch.num_samples, batch_size):
            part = slice(start, start + batch_size)
            yield ClickBatch(batch.dense[part], batch.indices[:, part].contiguous())

    def _of_arrays(self, dense: Any, sparse: Any, batch_size: int) -> Iterator[ClickBatch]:
        if hasattr(sparse, "offsets"):
            yield ClickBatch.from_kjt(dense, sparse, columns=self._columns)
            return
        if len(dense) != len(sparse):
            raise ShapeError(
                f"dense has {len(dense)} rows and sparse has {len(sparse)}, but both must have one row per sample: "
                "[B, N] and [B, T]."
            )
        for start in range(0, len(dense), batch_size):
            part = slice(start, start + batch_size)
            yield ClickBatch.from_arrays(dense[part], sparse[part], columns=self._columns)


def probabilities_of(logits: Tensor) -> Probabilities:
    """Return the probability of each logit, independent of the other logits and of their number.

    Args:
        logits: float32 ``[B]``.
    """
    count = len(logits)
    padded = np.zeros(-(-count // _VECTOR) * _VECTOR, np.float32)
    padded[:count] = logits.numpy(force=True)
    for start in range(0, len(padded), _ONE_THREAD):
        torch.from_numpy(padded[start : start + _ONE_THREAD]).sigmoid_()
    return padded[:count]


def _are_arrays(rows: Any) -> bool:
    """Whether rows are a pair (dense, sparse) and not a sequence of batches; a DataLoader makes the pair a list."""
    if isinstance(rows, tuple) and rows:
        return not isinstance(rows[0], tuple | Mapping)
    return isinstance(rows, list) and bool(rows) and _is_array(rows[0])


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")
