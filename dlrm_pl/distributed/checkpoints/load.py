"""Open a checkpoint on all processes; each later reads the parts of tables that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlrm_pl.callbacks.checkpoint_io import resume_in_epoch
from dlrm_pl.distributed.checkpoints.optimizer_forms import with_tables_apart
from dlrm_pl.distributed.together import together
from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.checkpoints.tensors import check_tensors, stored_tensors
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_file.plain import replace_leaves


def load(path: str | Path, rank: int, ranks: int) -> dict[str, Any]:
    """Open a checkpoint of one or several processes; its tables stay in their files, as ``FileTensor``.

    All tensors are compared with their checksums, each by one process.

    Args:
        path: a checkpoint file, or the folder of a sharded checkpoint.
        rank: number of this process.
        ranks: number of processes.

    Raises:
        CheckpointError: a process could not read the checkpoint, or it is damaged; the message names the process.
    """
    opened: list[dict[str, Any]] = []  # Not returned by the step: results are sent to all processes.

    def open_it() -> int:
        opened.append(_load(Path(path), rank, ranks))
        return int(opened[0].get("global_step", 0))

    steps = together(open_it)
    for other, step in enumerate(steps):
        if step != steps[0]:
            error = CheckpointError(
                f"{path}: was saved at step {steps[0]:,} on rank 0, but at step {step:,} on rank {other}. Give all "
                "processes the same checkpoint, on a file system that all machines share."
            )
            error.on_all_processes = True
            raise error
    return opened[0]


def _load(path: Path, rank: int, ranks: int) -> dict[str, Any]:
    contents = open_checkpoint(path)
    tensors = sorted(stored_tensors(contents), key=lambda pair: (-pair[0].nbytes, pair[1]))
    check_tensors(tensors[rank::ranks])
    num_tables = CheckpointContract.read(contents).architecture.num_tables
    of_tables = _of_tables(contents, num_tables)
    loaded: dict[str, Any] = replace_leaves(
        contents, FileTensor, lambda tensor: tensor if id(tensor) in of_tables else tensor.read()
    )
    return with_tables_apart(resume_in_epoch(loaded), num_tables)


def _of_tables(contents: dict[str, Any], num_tables: int) -> set[int]:
    """Return the ids of the tables, and of the optimizer's state for them."""
    found = {id(tensor) for name, tensor in contents["state_dict"].items() if ".embedding_bags." in name}
    for saved in contents.get("optimizer_states", ()):
        numbers = saved["param_groups"][-1]["params"]  # In a single group, the tables come first.
        for number in numbers[:num_tables]:
            found |= {id(value) for value in saved["state"].get(number, {}).values()}
    return found
