"""A sharding by name -> TorchRec's plan: which process has which part of each table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlrm_pl.errors import ConfigurationError

SHARDINGS = ("table_wise", "row_wise", "column_wise", "table_row_wise", "data_parallel")


def place(collection: Any, sharder: Any, shardings: Sequence[str], ranks: int, ranks_per_host: int, device: str) -> Any:
    """Make the plan of a collection of tables.

    Args:
        collection: TorchRec's EmbeddingBagCollection.
        sharder: TorchRec's sharder of it.
        shardings: sharding of each table.
        ranks: number of processes.
        ranks_per_host: number of processes on each host.
        device: ``cpu`` or ``cuda``.

    Raises:
        ConfigurationError: a sharding is unknown.
    """
    from torchrec.distributed.sharding_plan import (
        column_wise,
        construct_module_sharding_plan,
        data_parallel,
        row_wise,
        table_row_wise,
        table_wise,
    )

    filled = [0] * ranks
    hosts = [0] * (ranks // ranks_per_host)
    generators = {}
    for table, sharding in zip(collection.embedding_bag_configs(), shardings, strict=True):
        size = table.num_embeddings * table.embedding_dim
        if sharding == "table_wise":
            rank = filled.index(min(filled))
            filled[rank] += size
            generators[table.name] = table_wise(rank, compute_kernel="fused")
        elif sharding == "row_wise":
            generators[table.name] = row_wise(compute_kernel="fused")
        elif sharding == "column_wise":
            generators[table.name] = column_wise(list(range(ranks)), compute_kernel="fused")
        elif sharding == "table_row_wise":
            host = hosts.index(min(hosts))
            hosts[host] += size
            generators[table.name] = table_row_wise(host)
        elif sharding == "data_parallel":
            generators[table.name] = data_parallel()
        else:
            raise ConfigurationError(f"sharding={sharding!r} must be one of {', '.join(SHARDINGS)}.")
    return construct_module_sharding_plan(
        collection, generators, sharder, local_size=ranks_per_host, world_size=ranks, device_type=device
    )
