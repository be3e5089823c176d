"""Make the sharding plan of a training run, and check that it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlrm_pl.distributed.plan.communicated import Communication
from dlrm_pl.distributed.plan.engine_planner import choose
from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.memory import rank_memories
from dlrm_pl.distributed.plan.misfit import nothing_fits, too_much
from dlrm_pl.distributed.plan.placing import AUTO, place, shardings_of
from dlrm_pl.distributed.plan.sharding_plan import RankPlan, ShardingPlan, TablePlan
from dlrm_pl.distributed.plan.traffic import sent_bytes
from dlrm_pl.distributed.plan.workload import Workload


def make_plan(
    workload: Workload,
    hosts: Hosts,
    sharding: str | Mapping[str, str] = AUTO,
    device: str = "cpu",
    communication: Communication = "fp32",
) -> ShardingPlan:
    """Decide which process holds which part of each table.

    Args:
        workload: training run to plan for.
        hosts: hosts that the processes run on.
        sharding: ``auto`` lets TorchRec's planner choose; or one sharding for all tables, see ``SHARDINGS``; or the
            shardings of some tables by name or number, while the planner chooses for the others.
        device: ``cpu`` or ``cuda``, the device that will hold the tables.
        communication: dtype in which processes send each other embeddings and their gradients.

    Returns:
        A plan that fits the memory of the hosts.

    Raises:
        ConfigurationError: a sharding or a table is unknown, or the tables do not fit. In that case, the message says
            which table, how much memory is missing, and what would fit.
    """
    shardings = shardings_of(sharding, workload)
    if AUTO in shardings:
        tables = choose(workload, shardings, hosts, device)
        if tables is None:
            raise nothing_fits(workload, hosts)
    else:
        tables = place(workload, shardings, hosts)  # type: ignore[arg-type]
    plan = plan_of(workload, tables, hosts, communication)
    if plan.peak_memory > hosts.memory_of_process:
        raise too_much(workload, plan)
    return plan


def plan_of(
    workload: Workload, tables: Sequence[TablePlan], hosts: Hosts, communication: Communication = "fp32"
) -> ShardingPlan:
    """Compute the memory and traffic of each process for a given placement of the tables."""
    memories = rank_memories(workload, tables, hosts)
    sent = sent_bytes(workload, tables, hosts, communication)
    ranks = (RankPlan(rank, memory, size) for rank, (memory, size) in enumerate(zip(memories, sent, strict=True)))
    return ShardingPlan(hosts, tuple(tables), tuple(ranks))
