"""Number of bytes that each process sends to others in a training step."""

from __future__ import annotations

from collections.abc import Sequence

from dlrm_pl.distributed.plan.communicated import Communication
from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.sharding_plan import Sharding, TablePlan
from dlrm_pl.distributed.plan.workload import Workload

_ID = 8  # Ids and lengths of bags are int64.
_FLOAT = 4
_VALUE: dict[Communication, float] = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.25, "fp8": 1.0}
"""Bytes per embedding value that is sent; with int8, 32 values share a scale and a smallest value, both fp32."""
_SPLITS = 3  # Numbers that two processes exchange before each exchange of ids.


def sent_bytes(
    workload: Workload, tables: Sequence[TablePlan], hosts: Hosts, communication: Communication = "fp32"
) -> list[int]:
    """Compute the bytes that each process sends in a training step, with gloo's algorithms.

    In the forward pass, ids and bag lengths go to the processes that hold the rows, and sums of rows come back. In the
    backward pass, the gradients of those sums go the opposite way. Bags are assumed to have the mean number of rows,
    spread evenly over a table. What gloo adds to each message, 144 bytes, is not counted.

    Args:
        workload: training run to plan for.
        tables: placement of its tables.
        hosts: hosts that the processes run on.
        communication: dtype in which embeddings and their gradients are sent; everything else is sent unchanged.

    Returns:
        Number of bytes for each process.
    """
    if hosts.ranks == 1:
        return [0]
    groups: dict[Sharding, list[TablePlan]] = {}
    for table in tables:
        groups.setdefault(table.sharding, []).append(table)
    whole = [_FLOAT * table.rows * table.dim for table in groups.pop("data_parallel", [])]
    everywhere = _summed(_FLOAT * workload.dense_parameters, hosts.ranks) + _summed(sum(whole), hosts.ranks)
    sent = [everywhere + _ID * (hosts.ranks - 1)] * hosts.ranks
    for sharding, group in groups.items():
        ids = _ids(workload, group, hosts)
        values = _reduced(group, hosts) if "row" in sharding else _pooled(group, hosts)
        size = workload.batch_size * _VALUE[communication]
        sent = [a + round(b) + round(size * c) for a, b, c in zip(sent, ids, values, strict=True)]
    return sent


def _summed(size: float, ranks: int) -> int:
    """Bytes that each process sends to add up a vector of this size: first the parts of it, and then the sums."""
    return round(2 * size * (ranks - 1) / ranks)


def _ids(workload: Workload, group: Sequence[TablePlan], hosts: Hosts) -> list[float]:
    """Bytes of ids, lengths and their counts; each process gets those for the tables that it has a part of."""
    to = [float(_ID * _SPLITS)] * hosts.ranks
    for table in group:
        rows = workload.lookups[table.table]
        shards = table.shards()
        for shard in shards:
            share = shard.rows / table.rows if "row" in table.sharding else 1.0
            to[shard.rank] += workload.batch_size * _ID * (1 + rows * share)
    everything = sum(to)
    return [everything - own for own in to]


def _pooled(group: Sequence[TablePlan], hosts: Hosts) -> list[int]:
    """Values sent per row of a batch: sums of bags, which each process computes from its tables for all others."""
    widths = [0] * hosts.ranks
    for table in group:
        for shard in table.shards():
            widths[shard.rank] += shard.columns
    everything = sum(widths)
    return [(hosts.ranks - 1) * own + everything - own for own in widths]


def _reduced(group: Sequence[TablePlan], hosts: Hosts) -> list[int]:
    """Values sent per row of a batch: partial sums, which are added up between all processes, or first on each host.

    Gloo's reduce-scatter adds up everything on all processes, and sends twice as much as would be needed.
    """
    if group[0].sharding == "row_wise":
        width = sum(table.dim for table in group)
        return [3 * (hosts.ranks - 1) * width] * hosts.ranks
    widths = [0] * hosts.count
    for table in group:
        widths[hosts.host_of(table.ranks[0])] += table.dim
    everything = sum(widths)
    found = []
    for rank in range(hosts.ranks):
        own = widths[hosts.host_of(rank)]
        within = 3 * (hosts.processes - 1) * hosts.count * own
        between = (hosts.count - 1) * own + everything - own
        found.append(within + between)
    return found
