"""Errors that one process finds, raised by all of them, so that none waits for one that has stopped."""

from __future__ import annotations

import torch
import torch.distributed as dist

from dlrm_pl.errors import DLRMError


def exchanged(value: int, error: DLRMError | None, device: torch.device) -> list[int]:
    """Tell all processes a number, or that this one cannot go on; all of them take part.

    Args:
        value: number of this process, 0 or more.
        error: what this process found; None where nothing is wrong.
        device: where tensors are sent from.

    Returns:
        The numbers of all processes, in their order.

    Raises:
        DLRMError: the error of the first process that has one, of the same class on all processes; the message begins
            with its number where there are several.
    """
    ranks = dist.get_world_size()
    if ranks == 1:
        if error is not None:
            raise error
        return [value]
    values = torch.empty(ranks, dtype=torch.int64, device=device)
    dist.all_gather([*values.view(-1, 1)], torch.tensor([value if error is None else -1], device=device))
    found = values.tolist()
    if min(found) >= 0:
        return found
    errors: list[DLRMError | None] = [None] * ranks
    dist.all_gather_object(errors, error)
    rank = next(rank for rank, one in enumerate(errors) if one is not None)
    first = errors[rank]
    assert first is not None
    raise type(first)(f"rank {rank}: {first}")
