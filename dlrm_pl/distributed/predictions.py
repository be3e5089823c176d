"""Combine probabilities from several processes into those of all rows, in the order of the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch.distributed as dist
from torch import Tensor


def in_order_of_rows(batches: Sequence[Tensor]) -> list[npt.NDArray[np.float32]] | None:
    """Collect the probabilities of all processes on the first one; all of them must call this.

    The rows of a step are consecutive, and each process scores a share of them, see ``EpochSampler``. So the rows of
    the first batches come first, in the order of the processes.

    Args:
        batches: probabilities of this process, one tensor per batch; all processes have the same number of batches.

    Returns:
        The probabilities of all rows in batches, in order; None on the other processes.
    """
    own = [batch.float().cpu().numpy() for batch in batches]
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return own
    found: list[list[npt.NDArray[np.float32]]] | None = None
    if dist.get_rank() == 0:
        found = [[]] * dist.get_world_size()
    dist.gather_object(own, found)
    return None if found is None else list(chain.from_iterable(zip(*found, strict=True)))
