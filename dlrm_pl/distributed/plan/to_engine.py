"""Convert a sharding plan to TorchRec's own."""

from __future__ import annotations

from typing import Any

from dlrm_pl.distributed.plan.sharding_plan import ShardingPlan


def engine_plan(plan: ShardingPlan, collection: Any, sharder: Any, device: str) -> Any:
    """Make TorchRec's plan for a collection with the tables ``t0``, ``t1``, ...

    Args:
        plan: the plan to convert.
        collection: TorchRec's EmbeddingBagCollection.
        sharder: TorchRec's sharder for the collection.
        device: ``cpu`` or ``cuda``.
    """
    from torchrec.distributed.sharding_plan import (
        column_wise,
        construct_module_sharding_plan,
        data_parallel,
        row_wise,
        table_row_wise,
        table_wise,
    )

    generators = {}
    for table in plan.tables:
        first = table.ranks[0]
        made = {
            "table_wise": lambda first=first: table_wise(first, compute_kernel="fused"),
            "row_wise": lambda: row_wise(compute_kernel="fused"),
            "column_wise": lambda ranks=table.ranks: column_wise(list(ranks), compute_kernel="fused"),
            "table_row_wise": lambda first=first: _fused(table_row_wise(plan.hosts.host_of(first))),
            "data_parallel": data_parallel,
        }
        generators[f"t{table.table}"] = made[table.sharding]()
    return construct_module_sharding_plan(
        collection,
        generators,
        sharder,
        local_size=plan.hosts.processes,
        world_size=plan.hosts.ranks,
        device_type=device,
    )


def _fused(generator: Any) -> Any:
    """Make a generator of TorchRec choose the kernel that updates rows, although it has no argument for this.

    By itself, it chooses another kernel, whose rows would wait for an optimizer that does not exist.
    """

    def fused(*arguments: Any) -> Any:
        placed = generator(*arguments)
        placed.compute_kernel = "fused"
        return placed

    return fused
