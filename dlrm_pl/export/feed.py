"""Inputs of an exported model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch


def feed_of(batch: ClickBatch) -> dict[str, npt.NDArray[Any]]:
    """Return the inputs of an exported model for a batch, by name.

    ``dense`` float32 ``[B, N]`` after the transforms of the columns, ``indices`` int64 ``[B, T]``; or with bags
    ``indices`` int64 ``[L]`` and ``offsets`` int64 ``[T * B + 1]``.
    """
    feed = {"dense": np.ascontiguousarray(batch.dense.numpy())}
    if batch.offsets is None:
        return feed | {"indices": np.ascontiguousarray(batch.indices.numpy().T)}
    return feed | {"indices": np.ascontiguousarray(batch.indices.numpy()), "offsets": batch.offsets.numpy()}
