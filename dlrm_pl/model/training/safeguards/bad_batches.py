"""Batches that cannot be trained on, and where they are."""

from __future__ import annotations

import pytorch_lightning as pl

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import LookupIndexError, ShapeError
from dlrm_pl.model.dlrm import DLRM


def place(trainer: pl.Trainer) -> str:
    """Return which batch is being trained on, for the middle of a message."""
    return f"batch {trainer.fit_loop.batch_idx:,} of epoch {trainer.current_epoch}"


def empty_batch(trainer: pl.Trainer) -> ShapeError:
    """Make the error for a batch without samples."""
    return ShapeError(
        f"There are no samples in {place(trainer)}, so it has no mean loss. Remove such batches from the loader."
    )


def index_outside(trainer: pl.Trainer, model: DLRM, batch: ClickBatch) -> LookupIndexError | None:
    """Make the error for a batch whose forward pass failed, if it has an index outside its table.

    Args:
        trainer: Trainer that trains on the batch.
        model: the network.
        batch: the batch.
    """
    # After a failed lookup, nothing can be read from a GPU any more.
    wrong = model.outside(batch) if batch.indices.device.type == "cpu" else ""
    if not wrong:
        return None
    return LookupIndexError(f"In {place(trainer)}: {wrong[0].lower()}{wrong[1:]} Nothing of this batch was trained on.")
