"""Describe the current hosts and training run, for a plan."""

from __future__ import annotations

import resource
from typing import Any

import torch
import torch.distributed as dist

from dlrm_pl.columns.columns import Columns
from dlrm_pl.distributed.plan.workload import Workload
from dlrm_pl.memory import available_bytes

_BATCH_SIZE = 2048


def workload_of(module: Any) -> Workload:
    """Return the workload of a module that is attached to a Trainer.

    Args:
        module: a ``DLRMModule``.
    """
    data = module.trainer.datamodule
    return Workload(
        module.model.architecture,
        module.optimizers_chosen,
        getattr(data, "batch_size", _BATCH_SIZE),
        *lookups_and_names(module._columns),
        getattr(data, "eval_batch_size", 0) if module.trainer.limit_val_batches else 0,
    )


def lookups_and_names(columns: Columns | None) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return each table's maximum number of rows in a bag, and its name.

    Args:
        columns: columns of the data; None if they are not known, which makes both results empty.
    """
    sparse = () if columns is None else columns.sparse
    return tuple(float(column.width) for column in sparse), tuple(column.name for column in sparse)


def host_memory(processes: int, device: torch.device) -> int:
    """Return the number of bytes that the processes on this host may use in total.

    Args:
        processes: number of processes on this host.
        device: device with the tables of this process.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) * processes
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # A plan counts this memory again.
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    memory = available_bytes() + processes * taken
    return memory if limit == resource.RLIM_INFINITY else min(memory, processes * limit)


def memory_of_fullest_host(processes: int, device: torch.device) -> int:
    """Return the smallest ``host_memory`` of all hosts; all processes must call this.

    Args:
        processes: number of processes on each host.
        device: device with the tables of this process.
    """
    least = torch.tensor([host_memory(processes, device)], device=device)
    if dist.is_initialized():
        dist.all_reduce(least, op=dist.ReduceOp.MIN)
    return int(least)
