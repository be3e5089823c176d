"""Workload of a training run: the model's architecture, its optimizers, and the batches of each process."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings


@dataclass(frozen=True)
class Workload:
    """The properties of a training run that determine its memory and traffic.

    Attributes:
        architecture: shape of the model.
        optimizers: optimizers of the tables and of the MLPs.
        batch_size: number of rows in a training batch of each process.
        lookups: mean number of rows in a bag of each table; empty: one row for all tables.
        names: names of the tables; empty: their numbers are used.
        eval_batch_size: number of rows that each process scores at a time between training steps; 0: nothing is scored.

    Raises:
        ConfigurationError: a number is out of range, or there are more or fewer lookups or names than tables.
    """

    architecture: Architecture
    optimizers: OptimizerSettings = field(default_factory=OptimizerSettings)
    batch_size: int = 2048
    lookups: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    eval_batch_size: int = 0

    def __post_init__(self) -> None:
        tables = self.architecture.num_tables
        if self.batch_size < 1:
            raise ConfigurationError(f"batch_size={self.batch_size} must be at least 1.")
        if self.eval_batch_size < 0:
            raise ConfigurationError(f"eval_batch_size={self.eval_batch_size} must be 0 or more.")
        for name, values in (("lookups", self.lookups), ("names", self.names)):
            if values and len(values) != tables:
                raise ConfigurationError(f"{name} has {len(values)} values, but there are {tables} tables.")
        for table, value in enumerate(self.lookups):
            if not 0 <= value < float("inf"):
                raise ConfigurationError(f"lookups[{table}]={value} must be a finite number of rows, 0 or more.")
        object.__setattr__(self, "lookups", tuple(self.lookups) or (1.0,) * tables)
        object.__setattr__(self, "names", tuple(self.names) or tuple(map(str, range(tables))))

    @property
    def dim(self) -> int:
        """Width D of an embedding."""
        return self.architecture.embedding_dim

    @property
    def largest_batch(self) -> int:
        """Number of rows in the largest batch of a process."""
        return max(self.batch_size, self.eval_batch_size)

    @property
    def dense_parameters(self) -> int:
        """Number of weights outside the tables, which every process has."""
        return self.architecture.dense_parameters

    def table_bytes(self, rows: int, columns: int) -> int:
        """Return the size of a part of a table with this many rows and columns, including the optimizer's state."""
        return 4 * rows * columns + self.optimizers.table_state_bytes(rows, columns)

    def name_of(self, table: int) -> str:
        """Return the name of a table for messages, such as ``Table 3`` or ``Table 3 (C4)``."""
        name = self.names[table]
        return f"Table {table}" + ("" if name == str(table) else f" ({name})")
