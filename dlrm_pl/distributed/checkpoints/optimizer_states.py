"""The optimizer's state in checkpoints: that of one process, whatever the sharding of the tables."""

from __future__ import annotations

from typing import Any

import torch

from dlrm_pl.distributed.checkpoints.pieces import number_of, pieces_of
from dlrm_pl.distributed.sharded_tables import ShardedTables
from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.checkpoints.sharded.names import SUM
from dlrm_pl.model.checkpoints.sharded.row_sums import RowSums
from dlrm_pl.torch_file.pieces import fill_part
from dlrm_pl.torch_file.stored import FileTensor


def without_tables(checkpoint: dict[str, Any], num_tables: int) -> dict[str, Any]:
    """Return the contents of a checkpoint whose optimizer has all tables in its second group, but no state of them.

    Args:
        checkpoint: contents as Lightning collected them, with those tables alone that each process has whole.
        num_tables: number of tables.
    """
    if not checkpoint.get("optimizer_states"):
        return checkpoint
    saved = checkpoint["optimizer_states"][0]
    dense, tables = saved["param_groups"]
    first = len(dense["params"])
    groups = [dense, tables | {"params": list(range(first, first + num_tables))}]
    state = {number: values for number, values in saved["state"].items() if number < first}
    return checkpoint | {"optimizer_states": [{"state": state, "param_groups": groups}]}


def load_states(saved: dict[str, Any], tables: ShardedTables, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizers of tables in parts, and the one of Lightning, the state of a checkpoint.

    Args:
        saved: state of the optimizer in the checkpoint; that of tables are ``FileTensor``.
        tables: tables of the model.
        optimizer: optimizer of the training.

    Raises:
        CheckpointError: the checkpoint has another optimizer.
    """
    if len(saved["param_groups"]) != 2:
        raise CheckpointError("The checkpoint has the optimizer of an earlier version. Train a new model.")
    dense, group = saved["param_groups"]
    states = [saved["state"].get(number) for number in group["params"]]
    names = {id(parameter): name for name, parameter in tables.dmp.named_parameters()}
    replicated = [number_of(names[id(parameter)]) for parameter in optimizer.param_groups[-1]["params"]]
    first = len(dense["params"])
    own = {number: values for number, values in saved["state"].items() if number < first}
    for number, table in enumerate(replicated, first):
        if (state := states[table]) is not None:
            own[number] = {name: value.read() if isinstance(value, FileTensor) else value
                           for name, value in state.items()}  # fmt: skip
    numbers = list(range(first, first + len(replicated)))
    optimizer.load_state_dict({"state": own, "param_groups": [dense, group | {"params": numbers}]})
    for piece in pieces_of(tables, optimizer):
        if piece["name"] != SUM or piece["table"] in replicated:
            continue
        state = states[piece["table"]]
        if state is None or SUM not in state:
            raise CheckpointError(
                f"The checkpoint has no state of the optimizer for table {piece['table']}. Give it --model.optimizer "
                "as it was trained with, or train a new model."
            )
        _fill(piece["values"], state[SUM], piece["start"], piece["columns"])


def _fill(target: torch.Tensor, source: FileTensor, start: list[int], columns: int) -> None:
    """Read the part of a table's state that a process needs."""
    if target.dim() != len(source.shape):
        raise CheckpointError(
            f"The state of the optimizer for a table has the shape {list(source.shape)}, which is another optimizer's. "
            "Give --model.optimizer as it was trained with."
        )
    if isinstance(source, RowSums):
        source.fill(target, start[0], start[1], columns)
    else:
        fill_part(target, source, tuple(start[: target.dim()]))
