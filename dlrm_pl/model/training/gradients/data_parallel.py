"""Data-parallel training of embedding tables: sparse gradients are averaged over ranks.

DistributedDataParallel would use gloo's sparse all-reduce, one table at a time, which corrupts memory when ranks look
up different numbers of rows (seen with torch 2.13: "malloc(): unaligned tcache chunk"). Here the row numbers of all
tables are exchanged in one dense all-gather, and their gradients in another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def is_distributed() -> bool:
    """Tell whether this process is one of several ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.no_grad()
def broadcast(tables: Sequence[nn.Parameter]) -> None:
    """Give all ranks the tables of rank 0."""
    for table in tables:
        dist.broadcast(table.data, src=0)


@torch.no_grad()
def average(tables: Sequence[nn.Parameter]) -> None:
    """Replace each table's sparse gradient by its mean over all ranks, bit-identical on all of them.

    Args:
        tables: ``[rows, D]`` each, all with the same D and dtype, each with a sparse gradient; the same tables on all
            ranks.
    """
    gradients = [_gradient(table).coalesce() for table in tables]
    counts = torch.tensor([gradient._nnz() for gradient in gradients], device=tables[0].device)
    counts_of_rank = torch.stack(_all_gather(counts))
    longest = int(counts_of_rank.sum(1).max())
    rows = _all_gather(_padded(torch.cat([gradient.indices()[0] for gradient in gradients]), longest))
    values = _all_gather(_padded(torch.cat([gradient.values() for gradient in gradients]), longest))
    # rows_by_rank[r][t] are the rows of rank r for table t.
    rows_by_rank = [_split(part, sizes) for part, sizes in zip(rows, counts_of_rank.tolist(), strict=True)]
    values_by_rank = [_split(part, sizes) for part, sizes in zip(values, counts_of_rank.tolist(), strict=True)]
    for index, table in enumerate(tables):
        all_rows = torch.cat([part[index] for part in rows_by_rank])
        all_values = torch.cat([part[index] for part in values_by_rank]) / len(rows)
        table.grad = torch.sparse_coo_tensor(
            all_rows[None], all_values, table.shape, check_invariants=False, is_coalesced=False
        )


@torch.no_grad()
def average_dense(parameters: Sequence[nn.Parameter]) -> None:
    """Replace the gradients of parameters by their means over all ranks, bit-identical on all of them.

    Each rank adds up one part of all gradients, in the order of the ranks, so the sum equals that of a single process
    which accumulates the ranks' batches one after the other.

    Args:
        parameters: the same parameters on all ranks; all have a dense gradient.
    """
    ranks = dist.get_world_size() if is_distributed() else 1
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if ranks == 1 or not gradients:
        return
    sizes = [gradient.numel() for gradient in gradients]
    size = -(-sum(sizes) // ranks)
    padding = gradients[0].new_zeros(ranks * size - sum(sizes))
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), padding])
    mine = torch.empty(ranks, size, dtype=flat.dtype, device=flat.device)
    dist.all_to_all_single(mine, flat)
    total = mine[0]
    for part in mine[1:]:
        total += part
    total /= ranks
    dist.all_gather([*flat.view(ranks, size)], total)
    for gradient, values in zip(gradients, torch.split(flat[: sum(sizes)], sizes), strict=True):
        gradient.copy_(values.view_as(gradient))


def _gradient(table: nn.Parameter) -> Tensor:
    """Return the gradient of a table, or an empty one after a step whose loss did not depend on the table."""
    if table.grad is not None:
        return table.grad
    empty = torch.empty(1, 0, dtype=torch.int64, device=table.device)
    return torch.sparse_coo_tensor(empty, table.new_empty(0, table.shape[1]), table.shape, check_invariants=False)


def _padded(values: Tensor, length: int) -> Tensor:
    padding = values.new_zeros(length - len(values), *values.shape[1:])
    return torch.cat([values, padding])


def _all_gather(values: Tensor) -> list[Tensor]:
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return gathered


def _split(values: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    return torch.split(values[: sum(sizes)], sizes)
