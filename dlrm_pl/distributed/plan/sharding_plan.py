"""A sharding plan as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from dlrm_pl.distributed.plan.hosts import Hosts

Sharding = Literal["table_wise", "row_wise", "column_wise", "table_row_wise", "data_parallel"]
SHARDINGS: tuple[Sharding, ...] = get_args(Sharding)
"""How a table can be divided: not at all; by rows or by columns between all processes; by rows between those of one
host; or not at all, with a copy on every process."""


@dataclass(frozen=True)
class Shard:
    """The part of a table that a process holds.

    Attributes:
        rank: the process.
        row: first row of the part.
        rows: number of rows, which may be 0.
        column: first column of the part.
        columns: number of columns.
    """

    rank: int
    row: int
    rows: int
    column: int
    columns: int


@dataclass(frozen=True)
class TablePlan:
    """Placement of a table.

    Attributes:
        table: number of the table.
        name: name of the table.
        rows: number of rows.
        dim: width D of an embedding.
        bytes: size of the whole table's weights and optimizer state.
        sharding: how it is divided.
        ranks: processes that have a part of it, in the order of the parts.
    """

    table: int
    name: str
    rows: int
    dim: int
    bytes: int
    sharding: Sharding
    ranks: tuple[int, ...]

    def shards(self) -> list[Shard]:
        """Return the parts as TorchRec cuts them."""
        count = len(self.ranks)
        if self.sharding in ("row_wise", "table_row_wise"):
            block = -(-self.rows // count)
            return [
                Shard(rank, min(part * block, self.rows), max(0, min(block, self.rows - part * block)), 0, self.dim)
                for part, rank in enumerate(self.ranks)
            ]
        if self.sharding == "column_wise":
            width = self.dim // count
            return [Shard(rank, 0, self.rows, part * width, width) for part, rank in enumerate(self.ranks)]
        return [Shard(rank, 0, self.rows, 0, self.dim) for rank in self.ranks]


@dataclass(frozen=True)
class RankMemory:
    """Peak memory of a process, in bytes.

    Attributes:
        process: the process itself: Python, torch and TorchRec.
        tables: weights of its parts of tables.
        state: optimizer state of these parts.
        mlps: weights, gradients and optimizer state of the MLPs.
        batch: activations and gradients of its own batch.
        buffers: what it receives for, looks up for, and sends to other processes.
    """

    process: int
    tables: int
    state: int
    mlps: int
    batch: int
    buffers: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.process + self.tables + self.state + self.mlps + self.batch + self.buffers


@dataclass(frozen=True)
class RankPlan:
    """Consequences of a plan for a process.

    Attributes:
        rank: the process.
        memory: its peak memory.
        sent_bytes: bytes that it sends to other processes in a training step.
    """

    rank: int
    memory: RankMemory
    sent_bytes: int


@dataclass(frozen=True)
class ShardingPlan:
    """Assignment of table parts to processes, with its memory and traffic.

    Attributes:
        hosts: hosts that it was made for.
        tables: placement of each table.
        ranks: memory and traffic of each process.
    """

    hosts: Hosts
    tables: tuple[TablePlan, ...]
    ranks: tuple[RankPlan, ...]

    @property
    def peak_memory(self) -> int:
        """Memory of the process that needs the most, in bytes."""
        return max(rank.memory.total for rank in self.ranks)

    @property
    def sent_bytes(self) -> int:
        """Number of bytes sent in a training step by the process that sends the most."""
        return max(rank.sent_bytes for rank in self.ranks)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON types."""
        return {
            "hosts": asdict(self.hosts),
            "tables": [asdict(table) | {"ranks": list(table.ranks)} for table in self.tables],
            "ranks": [
                {"rank": rank.rank, "peak_memory_bytes": rank.memory.total, "memory_bytes": asdict(rank.memory)}
                | {"sent_bytes_per_step": rank.sent_bytes}
                for rank in self.ranks
            ],
        }
