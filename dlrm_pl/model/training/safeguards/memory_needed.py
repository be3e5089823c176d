"""Memory that training will need, computed beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.training.optimizers.rules import STATES
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings

_PAGE = 2 << 20  # Page size for the memory of large tables.
_FLOAT = 4
_READ_AHEAD = 3  # Batches in memory at a time: read, moved and computed.


@dataclass(frozen=True)
class TrainingMemory:
    """Memory needed for training, in bytes.

    Attributes:
        tables: weights of the tables.
        state: optimizer state of the tables.
        mlps: weights of the MLPs, and their gradients, packed copies and optimizer state.
        batch: activations and gradients of a batch, accumulated gradients, and batches that are read ahead.
    """

    tables: int
    state: int
    mlps: int
    batch: int

    @classmethod
    def of(
        cls,
        architecture: Architecture,
        optimizers: OptimizerSettings = OptimizerSettings(),  # noqa: B008 (frozen)
        *,
        batch_size: int = 0,
        accumulated: int = 1,
    ) -> TrainingMemory:
        """Add up the memory needed for training.

        Args:
            architecture: shape of the model.
            optimizers: optimizers of the tables and of the MLPs.
            batch_size: number of rows in a batch; 0 if it is not known.
            accumulated: number of batches whose gradients are accumulated for a step.
        """
        dim, sizes = architecture.embedding_dim, architecture.table_sizes
        widths = [architecture.bottom_mlp, (architecture.interaction_width, *architecture.top_mlp)]
        # For each cross layer: its input and output, and the values between its two products.
        widths += [(architecture.interaction_width, architecture.cross_rank)] * architecture.cross_layers
        weights = architecture.dense_parameters
        copies = 4 + len(STATES[optimizers.dense_rule])  # Weight, gradient and two packed copies.
        activations = 2 * (sum(map(sum, widths)) + (architecture.num_tables + 1) * dim) + architecture.num_tables * dim
        inputs = architecture.bottom_mlp[0] * _FLOAT + architecture.num_tables * 8 + _FLOAT
        # For each accumulated batch but the last: the gradients of all looked-up vectors, and their row numbers.
        kept = architecture.num_tables * (dim * _FLOAT + 8)
        return cls(
            tables=sum(_on_pages(rows * dim * _FLOAT) for rows in sizes),
            state=sum(_on_pages(optimizers.table_state_bytes(rows, dim)) for rows in sizes),
            mlps=weights * copies * _FLOAT,
            batch=batch_size * (activations * _FLOAT + _READ_AHEAD * inputs + (accumulated - 1) * kept),
        )

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.tables + self.state + self.mlps + self.batch

    def __str__(self) -> str:
        """The parts and their sum, for a message."""
        parts = {"tables": self.tables, "optimizer's state": self.state, "MLPs": self.mlps, "batches": self.batch}
        named = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items() if size)
        return f"{named}, {format_bytes(self.total)} in all"


def _on_pages(size: int) -> int:
    return size if size < _PAGE else -(-size // _PAGE) * _PAGE
