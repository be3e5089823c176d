"""Click probabilities of a model, for whatever rows a caller holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError, ShapeError
from dlrm_pl.files.watched import Watch

Probabilities = npt.NDArray[np.float32]

ROWS_AT_A_TIME = 8192
"""Rows of arrays and frames that are scored at a time, unless the caller says otherwise."""


class Scorer:
    """A model that turns rows into click probabilities.

    Args:
        model: batch -> logits ``[B]``.
        num_dense: dense features that the model takes.
        num_tables: tables of the model.
        watch: over the files that the model's weights are maps of, which must not be changed in place meanwhile.
    """

    def __init__(self, model: Callable[[ClickBatch], Tensor], num_dense: int, num_tables: int, watch: Watch) -> None:
        self._model = model
        self._num_dense = num_dense
        self._num_tables = num_tables
        self._watch = watch

    def probabilities(self, batch: ClickBatch) -> Probabilities:
        """Score one batch.

        Returns:
            Click probability of each sample, float32 ``[B]``.

        Raises:
            ShapeError: the batch has another number of dense features or tables than the model.
            LookupIndexError: an index outside its table.
            ArtifactError, CheckpointError: a file of the model was changed in place; looked at once a second.
        """
        self._watch.glance()
        with torch.inference_mode():
            return torch.sigmoid(self._model(batch)).numpy(force=True)

    def stream(
        self, batches: Iterable[ClickBatch], progress: Callable[[int], None] = lambda rows: None
    ) -> Iterator[Probabilities]:
        """Score batch after batch.

        Args:
            batches: are read one at a time.
            progress: called after each batch with its number of rows.

        Raises:
            ArtifactError, CheckpointError: a file of the model was changed in place before the last batch was scored.
        """
        for batch in batches:
            yield self.probabilities(batch)
            progress(batch.num_samples)
        self._watch.check()

    def predict(self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME) -> Probabilities:
        """Score rows.

        Args:
            rows: a ``ClickBatch``; a pair of arrays or tensors (dense ``[B, N]``, sparse ``[B, T]``), also as a dict
                with these two names; a frame with columns I1, I2, ... and C1, C2, ...; a ``ClickDataset``; or a
                ``DataLoader`` or any iterable of these. See ``ClickBatch.from_arrays`` and ``from_frame``: dense
                features are the counts of the log, sparse ones the ids that the dataset's dictionaries gave. Labels are
                ignored.
            batch_size: rows of arrays, frames and datasets that are scored at a time.

        Returns:
            Click probabilities in the order of the rows, float32 ``[rows]``.

        Raises:
            ConfigurationError: the rows have another type, or ``batch_size`` is below 1.
            ShapeError: they have another number of dense features or tables than the model.
            LookupIndexError: an index outside its table.
        """
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size} must be at least 1.")
        batches = _batches(rows, self._num_dense, self._num_tables, batch_size)
        parts = list(self.stream(batches))
        return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _batches(rows: Any, num_dense: int, num_tables: int, batch_size: int) -> Iterator[ClickBatch]:
    """Batches of what ``predict`` was given."""
    if isinstance(rows, ClickBatch):
        yield rows
    elif callable(getattr(rows, "batches", None)):
        yield from rows.batches(batch_size)
    elif hasattr(rows, "columns") or isinstance(rows, Mapping):
        if isinstance(rows, Mapping) and {"dense", "sparse"} <= rows.keys():
            yield from _array_batches(rows["dense"], rows["sparse"], batch_size)
        else:
            batch = ClickBatch.from_frame(rows, num_dense=num_dense, num_sparse=num_tables)
            yield from _array_batches(batch.dense, batch.indices.T, batch_size, take_log=False)
    elif _are_arrays(rows):
        if len(rows) not in (2, 3):
            raise ConfigurationError(f"{len(rows)} arrays were given, but predict takes two: dense and sparse.")
        yield from _array_batches(rows[0], rows[1], batch_size)
    elif isinstance(rows, Iterable) and not isinstance(rows, str | bytes) and not _is_array(rows):
        for part in rows:
            yield from _batches(part, num_dense, num_tables, batch_size)
    else:
        raise ConfigurationError(
            "predict takes a ClickBatch, a pair of arrays (dense, sparse), a frame with columns I1, ... and C1, ..., "
            f"or an iterable of these, not a value of type {type(rows).__name__}."
        )


def _array_batches(dense: Any, sparse: Any, batch_size: int, take_log: bool = True) -> Iterator[ClickBatch]:
    if hasattr(sparse, "offsets"):
        yield ClickBatch.from_kjt(dense, sparse, take_log=take_log)
        return
    if len(dense) != len(sparse):
        raise ShapeError(
            f"dense has {len(dense)} rows and sparse {len(sparse)}, but both have one row per sample: [B, N] and "
            "[B, T]."
        )
    for start in range(0, len(dense), batch_size):
        part = slice(start, start + batch_size)
        yield ClickBatch.from_arrays(dense[part], sparse[part], take_log=take_log)


def _are_arrays(rows: Any) -> bool:
    """Whether rows are (dense, sparse) and not a sequence of batches; a DataLoader makes a list of them."""
    if isinstance(rows, tuple) and rows:
        return not isinstance(rows[0], tuple | Mapping)
    return isinstance(rows, list) and bool(rows) and _is_array(rows[0])


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")
