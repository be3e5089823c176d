"""Error messages for tables that do not fit: which table, what is missing, and what would fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.memory import fixed_memory, rank_memories
from dlrm_pl.distributed.plan.placing import place
from dlrm_pl.distributed.plan.sharding_plan import Sharding, ShardingPlan
from dlrm_pl.distributed.plan.workload import Workload
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.sizes import GIB, format_bytes

_MOST_HOSTS = 4096


def too_much(workload: Workload, plan: ShardingPlan) -> ConfigurationError:
    """Return the error for a plan in which a process would need more memory than it has."""
    hosts = plan.hosts
    if _beside(workload) >= hosts.memory_of_process:
        return _no_room(workload, hosts)
    worst = max(plan.ranks, key=lambda rank: rank.memory.total)
    parts = {
        table.table: sum(
            workload.table_bytes(shard.rows, shard.columns) for shard in table.shards() if shard.rank == worst.rank
        )
        for table in plan.tables
    }
    largest = max(parts, key=lambda table: parts[table])
    missing = worst.memory.total - hosts.memory_of_process
    return ConfigurationError(
        f"{workload.name_of(largest)} does not fit: process {worst.rank} would hold {format_bytes(parts[largest])} "
        f"of it ({plan.tables[largest].sharding}, {workload.architecture.table_sizes[largest]:,} rows), and needs "
        f"{format_bytes(worst.memory.total)} in all, of which {format_bytes(_beside(workload))} are not tables, but "
        f"has {format_bytes(hosts.memory_of_process)}: {format_bytes(missing)} are missing on {hosts}. "
        f"{_what_would_fit(workload, hosts)}"
    )


def nothing_fits(workload: Workload, hosts: Hosts) -> ConfigurationError:
    """Return the error if no way of dividing the tables fits."""
    if _beside(workload) >= hosts.memory_of_process:
        return _no_room(workload, hosts)
    sizes = [workload.table_bytes(rows, workload.dim) for rows in workload.architecture.table_sizes]
    largest = max(range(len(sizes)), key=lambda table: sizes[table])
    beside = _beside(workload) * hosts.ranks
    needed, there = sum(sizes) + beside, hosts.memory_bytes * hosts.count
    gap = (
        f"{format_bytes(needed - there)} are missing"
        if needed > there
        else "no way of dividing the tables fits the processes' memory, including what they exchange"
    )
    return ConfigurationError(
        f"The tables do not fit. {workload.name_of(largest)} is the largest: {format_bytes(sizes[largest])} with its "
        f"optimizer's state, of {format_bytes(sum(sizes))} for all tables; the {hosts.ranks} processes need "
        f"{format_bytes(beside)} in addition. Together they have {format_bytes(there)}: {gap} on {hosts}. "
        f"{_what_would_fit(workload, hosts)}"
    )


def _no_room(workload: Workload, hosts: Hosts) -> ConfigurationError:
    """Return the error if a process has no memory for any table."""
    return ConfigurationError(
        f"A process needs {format_bytes(_beside(workload))} before it has any table, but has "
        f"{format_bytes(hosts.memory_of_process)} on {hosts}. {_what_would_fit(workload, hosts)}"
    )


def _beside(workload: Workload) -> int:
    """Memory of a process besides the tables and what it exchanges with others."""
    return fixed_memory(workload).total


def _what_would_fit(workload: Workload, hosts: Hosts) -> str:
    """Sentences that say what would fit."""
    same = _least(workload, hosts)
    if same[0] <= hosts.memory_of_process:
        return f"sharding={same[1]} would fit on them: it needs {format_bytes(same[0])} on each process."
    whole = -(-same[0] * hosts.processes // GIB)
    found = [f"{whole} GiB on each host (with sharding={same[1]})"]
    if (more := _enough_hosts(workload, hosts)) is not None:
        found.insert(0, f"{more[0]} hosts (with sharding={more[1]})")
    less = "a smaller --model.embedding_dim, --data.batch_size or --data.eval_batch_size"
    return f"What would fit: {', or '.join(found)}; or {less}."


def _least(workload: Workload, hosts: Hosts) -> tuple[int, str]:
    """Return the least memory of a process that one of the simple shardings needs, and that sharding."""
    return min(_needs(workload, hosts))


def _needs(workload: Workload, hosts: Hosts) -> Iterator[tuple[int, str]]:
    kinds: list[Sharding] = ["row_wise", "table_wise"]
    if hosts.count > 1 and hosts.processes > 1:
        kinds.append("table_row_wise")
    for kind in kinds:
        tables = place(workload, [kind] * workload.architecture.num_tables, hosts)
        yield max(memory.total for memory in rank_memories(workload, tables, hosts)), kind


def _enough_hosts(workload: Workload, hosts: Hosts) -> tuple[int, str] | None:
    """Return the smallest number of such hosts that suffices, and the sharding; None if none does."""

    def fitting(count: int) -> tuple[int, str] | None:
        needed, sharding = _least(workload, replace(hosts, count=count))
        return (count, sharding) if needed <= hosts.memory_of_process else None

    low, high = hosts.count, hosts.count * 2
    while (found := fitting(high)) is None:
        low, high = high, high * 2
        if high * hosts.processes > _MOST_HOSTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if (at := fitting(middle)) is None:
            low = middle
        else:
            high, found = middle, at
    return found
