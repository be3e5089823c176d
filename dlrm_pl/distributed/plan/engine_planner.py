"""TorchRec's planner, which chooses how to divide tables."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dlrm_pl.distributed.engine import require_engine
from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.memory import fixed_memory
from dlrm_pl.distributed.plan.sharding_plan import SHARDINGS, TablePlan
from dlrm_pl.distributed.plan.workload import Workload

BYTES_PER_S = {"within": 4e9, "between": 3e9, "memory": 10e9}
"""Bytes per second between two processes on a host, between two hosts over a 25 Gbit/s network, and for random reads
and writes in a process's memory. The planner uses these numbers to compare shardings."""


def choose(workload: Workload, shardings: Sequence[str], hosts: Hosts, device: str = "cpu") -> list[TablePlan] | None:
    """Let TorchRec's planner choose shardings and processes.

    A table is copied to every process if that sends fewer bytes; the planner is not asked about it. On CPUs, other
    tables stay whole if a process has room for one: gloo's reduce-scatter, which combines divided rows, sends three
    times as much. If the planner finds no place for all tables in this way, it may divide them as well.

    Args:
        workload: training run to plan for.
        shardings: sharding of each table, or ``auto``.
        hosts: hosts that the processes run on.
        device: ``cpu`` or ``cuda``, the device that will hold the tables.

    Returns:
        Placement of each table; None if the planner finds no place for all of them.

    Raises:
        ConfigurationError: TorchRec is not installed, or does not fit the installed torch.
    """
    require_engine()
    fixed = fixed_memory(workload)
    free = hosts.memory_of_process - fixed.process - fixed.mlps - fixed.batch
    if free <= 0:
        return None
    anyhow = [_candidates(workload, table, hosts) if kind == "auto" else [kind] for table, kind in enumerate(shardings)]
    sizes = [workload.table_bytes(rows, workload.dim) for rows in workload.architecture.table_sizes]
    whole = [
        ["table_wise"] if "table_wise" in kinds and size < free else kinds
        for kinds, size in zip(anyhow, sizes, strict=True)
    ]
    if device == "cpu" and (found := _planned(workload, whole, hosts, free, device)) is not None:
        return found
    return _planned(workload, anyhow, hosts, free, device)


def _planned(
    workload: Workload, candidates: Sequence[Sequence[str]], hosts: Hosts, free: int, device: str
) -> list[TablePlan] | None:
    """Let the planner choose between some shardings for each table."""
    from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints
    from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
    from torchrec.distributed.planner.types import PlannerError

    constraints = {
        f"t{table}": ParameterConstraints(
            sharding_types=list(kinds),
            compute_kernels=["dense" if kind == "data_parallel" else "fused" for kind in kinds],
            pooling_factors=[max(workload.lookups[table], 1e-3)],
            min_partition=max(4, workload.dim // hosts.ranks),
        )
        for table, kinds in enumerate(candidates)
    }
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        planner = EmbeddingShardingPlanner(
            topology=_topology(hosts, free, device),
            batch_size=workload.largest_batch,  # For the memory that it counts.
            constraints=constraints,
            storage_reservation=FixedPercentageStorageReservation(0.0),
            stats=[],
            debug=False,
        )
        try:
            chosen = planner.plan(_collection(workload), [_sharder()]).plan[""]
        except PlannerError:
            return None
    return [
        TablePlan(
            table=table,
            name=workload.names[table],
            rows=rows,
            dim=workload.dim,
            bytes=workload.table_bytes(rows, workload.dim),
            sharding=chosen[f"t{table}"].sharding_type,
            ranks=tuple(chosen[f"t{table}"].ranks),
        )
        for table, rows in enumerate(workload.architecture.table_sizes)
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the planner's remarks, such as one for each copied table: the plan itself shows this."""
    root = logging.getLogger()
    root.addFilter(_is_no_remark)
    try:
        yield
    finally:
        root.removeFilter(_is_no_remark)


def _is_no_remark(record: logging.LogRecord) -> bool:
    return "torchrec" not in record.pathname.split("/")


def _candidates(workload: Workload, table: int, hosts: Hosts) -> list[str]:
    """Shardings that the planner chooses from for a table."""
    # A copied table exchanges its whole gradient; any other table exchanges the ids and the sums of a batch.
    rows, dim = workload.architecture.table_sizes[table], workload.dim
    copied = 2 * rows * dim * 4 / hosts.ranks
    exchanged = workload.batch_size * (2 * dim * 4 + 8 * (1 + workload.lookups[table])) / hosts.ranks
    if copied <= exchanged:
        return ["data_parallel"]
    kinds = ["table_wise", "row_wise"]
    return [*kinds, "table_row_wise"] if hosts.count > 1 and hosts.processes > 1 else kinds


def _topology(hosts: Hosts, free: int, device: str) -> Any:
    from torchrec.distributed.planner.types import HardwareConfig, KernelConfig, TopologyFactory, TrainerConfig

    return TopologyFactory.create_topology(
        TrainerConfig(world_size=hosts.ranks, local_world_size=hosts.processes),
        HardwareConfig(
            ddr_cap_bytes=free,
            hbm_cap_bytes=free,
            intra_host_bw=BYTES_PER_S["within"] / 1000,  # Per millisecond.
            inter_host_bw=BYTES_PER_S["between"] / 1000,
            ddr_mem_bw=BYTES_PER_S["memory"] / 1000,
        ),
        KernelConfig(compute_device=device),
    )


def _collection(workload: Workload) -> Any:
    """TorchRec's collection of the tables, without memory; the planner counts their optimizer state."""
    import torch
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
    from torchrec.optim import SGD, Adagrad, RowWiseAdagrad

    collection = EmbeddingBagCollection(
        tables=[
            EmbeddingBagConfig(
                name=f"t{table}", embedding_dim=workload.dim, num_embeddings=rows, feature_names=[f"f{table}"]
            )
            for table, rows in enumerate(workload.architecture.table_sizes)
        ],
        device=torch.device("meta"),
    )
    kinds = {"sgd": SGD, "adagrad": Adagrad, "rwsadagrad": RowWiseAdagrad}
    for parameter in collection.parameters():
        parameter._optimizer_classes = [kinds[workload.optimizers.optimizer]]
    return collection


def _sharder() -> Any:
    """TorchRec's sharder, with all shardings that work on CPUs; it claims itself that row-wise ones do not."""
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder

    sharder = EmbeddingBagCollectionSharder()
    sharder.sharding_types = lambda device: list(SHARDINGS)
    sharder.compute_kernels = lambda sharding, device: ["dense" if sharding == "data_parallel" else "fused"]
    return sharder
