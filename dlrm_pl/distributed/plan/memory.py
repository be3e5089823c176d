"""The peak memory of each process of a plan."""

from __future__ import annotations

from collections.abc import Sequence

from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.sharding_plan import RankMemory, TablePlan
from dlrm_pl.distributed.plan.workload import Workload
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.training.safeguards.memory_needed import TrainingMemory

PROCESS_BYTES = 640 << 20
"""Memory of a process with Lightning, torch 2.13 and TorchRec 1.8 before there is a model, plus the blocks in which
weights are drawn and copied; measured on Linux x86-64."""

_ID = 8
_FLOAT = 4
_COPIES_OF_IDS = 4  # As sent, as received, sorted by table, and with offsets for the lookup.
_COPIES_OF_VECTORS = 2  # As looked up, and as sent or received; later the same for the gradients.


def rank_memories(workload: Workload, tables: Sequence[TablePlan], hosts: Hosts) -> list[RankMemory]:
    """Compute the peak memory of each process.

    Args:
        workload: training run to plan for.
        tables: placement of its tables.
        hosts: hosts that the processes run on.

    Returns:
        Memory of each process.
    """
    weights, states, buffers = [0] * hosts.ranks, [0] * hosts.ranks, [0.0] * hosts.ranks
    batch = workload.largest_batch * hosts.ranks
    for table in tables:
        rows_of_bag = workload.lookups[table.table]
        for shard in table.shards():
            size = _FLOAT * shard.rows * shard.columns
            weights[shard.rank] += size
            states[shard.rank] += workload.table_bytes(shard.rows, shard.columns) - size
            if table.sharding == "data_parallel":
                buffers[shard.rank] += size  # Its gradient, which is dense.
                continue
            share = shard.rows / table.rows if "row" in table.sharding else 1.0
            ids = _ID * (1 + rows_of_bag * share) * _COPIES_OF_IDS
            vectors = _FLOAT * shard.columns * (_COPIES_OF_VECTORS + ("row" in table.sharding))
            buffers[shard.rank] += batch * (ids + vectors)
    fixed = fixed_memory(workload)
    return [
        RankMemory(fixed.process, tables=weight, state=state, mlps=fixed.mlps, batch=fixed.batch, buffers=round(buffer))
        for weight, state, buffer in zip(weights, states, buffers, strict=True)
    ]


def fixed_memory(workload: Workload) -> RankMemory:
    """Return the memory that every process needs in addition to its parts of tables."""
    architecture = _without_rows(workload.architecture)
    trained = TrainingMemory.of(architecture, workload.optimizers, batch_size=workload.batch_size)
    scored = TrainingMemory.of(architecture, workload.optimizers, batch_size=workload.eval_batch_size)
    # Scoring keeps no gradients, which are half of what training keeps.
    activations = max(trained.batch, scored.batch // 2)
    # The sums of all bags in the process's own batch come in ordered by processes, and are then reordered by tables.
    vectors = 2 * _FLOAT * workload.largest_batch * architecture.num_tables * workload.dim
    ids = _ID * workload.largest_batch * int(sum(workload.lookups))
    return RankMemory(PROCESS_BYTES, tables=0, state=0, mlps=trained.mlps, batch=activations + vectors + ids, buffers=0)


def _without_rows(architecture: Architecture) -> Architecture:
    """The same MLPs and number of tables, with one row each."""
    values = architecture.to_dict()
    return Architecture.from_dict(values | {"table_sizes": [1] * architecture.num_tables})
