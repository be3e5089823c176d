"""Pieces of tables on this process, with their optimizer state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.distributed.sharded_tables import ShardedTables
from dlrm_pl.model.checkpoints.sharded.names import SUM, WEIGHT, SavedPiece


def pieces_of(tables: ShardedTables, optimizer: torch.optim.Optimizer | None) -> list[SavedPiece]:
    """Return the weights on this process and, given an optimizer, its state; both are shared with training.

    Args:
        tables: sharded tables of the model.
        optimizer: optimizer of the training, which holds the state of the tables that each process has as a whole; None
            to leave out the state of all optimizers.
    """
    pieces = [
        SavedPiece(table=part.table, name=WEIGHT, start=[part.row, part.column], columns=part.values.shape[1],
                   values=part.values)
        for part in tables.parts()
    ]  # fmt: skip
    if optimizer is None:
        return pieces
    return [*pieces, *_fused_sums(tables.dmp.fused_optimizer), *_replicated_sums(tables, optimizer)]


def _fused_sums(fused: Any) -> Iterator[SavedPiece]:
    """Yield the state of tables in parts: one tensor for each part, in their order."""
    for name, weight in fused.params.items():
        for sums in fused.state.get(weight, {}).values():
            for part, state in zip(weight.local_shards(), sums.local_shards(), strict=True):
                yield SavedPiece(
                    table=number_of(name),
                    name=SUM,
                    start=list(part.metadata.shard_offsets),
                    columns=part.metadata.shard_sizes[1],
                    values=state.tensor,
                )


def _replicated_sums(tables: ShardedTables, optimizer: torch.optim.Optimizer) -> Iterator[SavedPiece]:
    names = {id(parameter): name for name, parameter in tables.dmp.named_parameters()}
    for parameter in optimizer.param_groups[-1]["params"]:
        sums: Tensor | None = optimizer.state.get(parameter, {}).get(SUM)
        if sums is not None:
            table = number_of(names[id(parameter)])
            yield SavedPiece(table=table, name=SUM, start=[0, 0], columns=parameter.shape[1], values=sums)


def number_of(name: str) -> int:
    """Return the number of the table with a TorchRec name: ``embedding_bags.t3.weight`` -> 3."""
    return int(name.split(".")[-2].removeprefix("t"))
