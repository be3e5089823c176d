"""Load a checkpoint's optimizer state, however its tables were sharded."""

from __future__ import annotations

from typing import Any

import torch

from dlrm_pl.distributed.checkpoints.pieces import number_of, pieces_of
from dlrm_pl.distributed.sharded_tables import ShardedTables
from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.checkpoints.sharded.names import SUM
from dlrm_pl.model.checkpoints.sharded.row_sums import RowSums
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_file.pieces import fill_part


def load_states(saved: dict[str, Any], tables: ShardedTables, optimizer: torch.optim.Optimizer) -> None:
    """Load a checkpoint's state into the optimizers of sharded tables and into Lightning's optimizer.

    Args:
        saved: state of the optimizer in the checkpoint, with the tables in the second of two groups; the states of
            tables are ``FileTensor``.
        tables: tables of the model.
        optimizer: optimizer of the training.

    Raises:
        CheckpointError: the checkpoint has another optimizer.
    """
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
    groups = [
        now | {name: value for name, value in before.items() if name in now} | {"params": params}
        for now, before, params in zip(
            optimizer.state_dict()["param_groups"], (dense, group), (dense["params"], numbers), strict=True
        )
    ]
    optimizer.load_state_dict({"state": own, "param_groups": groups})
    for piece in pieces_of(tables, optimizer):
        if piece["name"] != SUM or piece["table"] in replicated:
            continue
        state = states[piece["table"]]
        if state is None or SUM not in state:
            raise CheckpointError(
                f"The checkpoint has no optimizer state for table {piece['table']}. Give the --model.optimizer that "
                "it was trained with, or train a new model."
            )
        _fill(piece["values"], state[SUM], piece["start"], piece["columns"])


def _fill(target: torch.Tensor, source: FileTensor, start: list[int], columns: int) -> None:
    """Read the part of a table's state that a process needs."""
    if target.dim() != len(source.shape):
        raise CheckpointError(
            f"The optimizer state of a table has shape {list(source.shape)}, so it belongs to another optimizer. "
            "Give the --model.optimizer that the checkpoint was trained with."
        )
    if isinstance(source, RowSums):
        source.fill(target, start[0], start[1], columns)
    else:
        fill_part(target, source, tuple(start[: target.dim()]))
