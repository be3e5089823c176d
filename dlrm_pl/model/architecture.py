"""Architecture of a DLRM as plain numbers, which checkpoints, artifacts and certificates state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal

from dlrm_pl.columns.column import Pooling
from dlrm_pl.columns.columns import Columns
from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.documents.fields import make, shown
from dlrm_pl.errors import ConfigurationError

Interaction = Literal["dot", "cat", "dcn"]
# Far beyond any model, but small enough that the byte count of a table or layer fits into 64 bits.
MAX_ROWS = 1 << 40
MAX_WIDTH = 1 << 20
MAX_PARTS = 10_000


@dataclass(frozen=True)
class Architecture:
    """Architecture of a DLRM, as plain numbers that are checked and immutable.

    Lists are accepted in place of tuples, and become tuples.

    Attributes:
        table_sizes: number of rows of each embedding table.
        embedding_dim: width D of an embedding.
        bottom_mlp: widths of the bottom MLP, including its input, such as 4-512-256-128; the last one is D.
        top_mlp: widths of the top MLP without its input, such as 1024-1024-512-256-1; the last one is 1.
        interaction: how the vectors interact: ``dot`` for all pairwise dot products, ``cat`` for concatenation, ``dcn``
            for the cross network of DLRM v2 on their concatenation (``dlrm_pl.model.cross_net``).
        self_interaction: include the dot product of each vector with itself.
        loss_threshold: t clamps the probability to [t, 1 - t], as upstream (facebookresearch/dlrm) does; 0 is off.
        pooling: how the rows in a bag of each table become one vector, ``sum`` or ``mean``; empty: ``sum`` for all
            tables.
        cross_layers: with ``dcn``, number of layers of the cross network; otherwise 0.
        cross_rank: with ``dcn``, rank of the layers' weights, at most the width of the concatenation; otherwise 0.

    Raises:
        ConfigurationError: the numbers do not form a network; the message names the wrong one.

    Example:
        >>> from dlrm_pl import Architecture
        >>> architecture = Architecture(table_sizes=[100, 20], embedding_dim=8, bottom_mlp=[13, 8], top_mlp=[16, 1])
        >>> architecture.table_sizes, architecture.interaction_width
        ((100, 20), 11)
    """

    table_sizes: tuple[int, ...]
    embedding_dim: int
    bottom_mlp: tuple[int, ...]
    top_mlp: tuple[int, ...]
    interaction: Interaction = "dot"
    self_interaction: bool = False
    loss_threshold: float = 0.0
    pooling: tuple[Pooling, ...] = ()
    cross_layers: int = 0
    cross_rank: int = 0

    def __post_init__(self) -> None:
        """Turn lists into tuples, and check the numbers."""
        for name, largest in (("table_sizes", MAX_ROWS), ("bottom_mlp", MAX_WIDTH), ("top_mlp", MAX_WIDTH)):
            object.__setattr__(self, name, _whole_numbers(name, getattr(self, name), largest))
        object.__setattr__(self, "embedding_dim", *_whole_numbers("embedding_dim", (self.embedding_dim,), MAX_WIDTH))
        if isinstance(self.pooling, list):
            object.__setattr__(self, "pooling", tuple(self.pooling))
        check_fields(self)
        if not self.table_sizes:
            raise ConfigurationError("table_sizes is empty, but a DLRM needs at least one table.")
        if len(self.bottom_mlp) < 2:
            raise ConfigurationError(
                f"bottom_mlp={list(self.bottom_mlp)} must have at least two numbers: its inputs and one layer."
            )
        if self.bottom_mlp[-1] != self.embedding_dim:
            raise ConfigurationError(
                f"bottom_mlp={list(self.bottom_mlp)} ends in {self.bottom_mlp[-1]}, but must end in "
                f"embedding_dim={self.embedding_dim}, since its output interacts with the embeddings."
            )
        if not self.top_mlp or self.top_mlp[-1] != 1:
            raise ConfigurationError(f"top_mlp={list(self.top_mlp)} must end in 1, the logit.")
        if not 0 <= self.loss_threshold < 0.5:
            raise ConfigurationError(
                f"loss_threshold={self.loss_threshold} must be 0 (off) or between 0 and 0.5: it clamps probabilities "
                "to [t, 1 - t]."
            )
        if self.pooling and len(self.pooling) != len(self.table_sizes):
            raise ConfigurationError(
                f"pooling has {len(self.pooling)} values, but there are {len(self.table_sizes)} tables. Give one for "
                "each table, or none to sum all of them."
            )
        self._check_cross_net()
        if "mean" not in self.pooling:  # One form only, so that equal models compare equal.
            object.__setattr__(self, "pooling", ())

    def _check_cross_net(self) -> None:
        """Check number and rank of the cross network's layers."""
        if self.interaction != "dcn":
            for name in ("cross_layers", "cross_rank"):
                if value := getattr(self, name):
                    raise ConfigurationError(
                        f"{name}={value} needs interaction='dcn', the cross network of DLRM v2, not "
                        f"{self.interaction!r}."
                    )
            return
        for name in ("cross_layers", "cross_rank"):
            largest = MAX_PARTS if name == "cross_layers" else self.interaction_width
            if not 1 <= getattr(self, name) <= largest:
                reason = "" if name == "cross_layers" else ", the width of the vectors that it reads"
                raise ConfigurationError(
                    f"{name}={getattr(self, name)} must be from 1 to {largest:,}{reason}, with interaction='dcn'."
                )
        if self.self_interaction:
            raise ConfigurationError("self_interaction=True needs interaction='dot', not 'dcn'.")

    @property
    def num_tables(self) -> int:
        """Number of tables T."""
        return len(self.table_sizes)

    @property
    def is_mean(self) -> tuple[bool, ...]:
        """Whether each table's bags are averaged instead of summed."""
        return tuple(pooling == "mean" for pooling in self.pooling) or (False,) * self.num_tables

    @property
    def interaction_width(self) -> int:
        """Width of the interaction's output, which is the input of the top MLP."""
        vectors = self.num_tables + 1
        if self.interaction != "dot":
            return vectors * self.embedding_dim
        pairs = vectors * (vectors + 1) // 2 if self.self_interaction else vectors * (vectors - 1) // 2
        return self.embedding_dim + pairs

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """Numbers of inputs and outputs of each Linear by the name of its op, in the order of computation.

        ``bottom_mlp.0``, ..., ``cross_net.0.v``, ``cross_net.0.w``, ``cross_net.1.v``, ..., ``top_mlp.0``, ...
        """
        width = self.interaction_width
        shapes = {f"bottom_mlp.{index}": widths for index, widths in enumerate(pairwise(self.bottom_mlp))}
        for layer in range(self.cross_layers):
            shapes |= {
                f"cross_net.{layer}.v": (width, self.cross_rank),
                f"cross_net.{layer}.w": (self.cross_rank, width),
            }
        return shapes | {f"top_mlp.{index}": widths for index, widths in enumerate(pairwise((width, *self.top_mlp)))}

    @property
    def dense_parameters(self) -> int:
        """Number of weights and biases outside the tables; a cross layer's ``v`` has no bias."""
        shapes = self.linear_shapes
        return sum(inputs * outputs + (0 if op.endswith(".v") else outputs) for op, (inputs, outputs) in shapes.items())

    def misfit(self, columns: Columns, *, may_have_fewer_ids: bool = False) -> str:
        """Return why rows with these columns cannot be scored, as a clause; "" if they can.

        Args:
            columns: columns of the rows.
            may_have_fewer_ids: whether a column that states its number of ids may have fewer than its table has rows.
                Every id can then be looked up, although it may stand for another category.
        """
        if columns.num_dense != self.bottom_mlp[0]:
            return (
                f"the number of dense columns is {columns.num_dense}, but bottom_mlp begins with {self.bottom_mlp[0]}"
            )
        if columns.num_sparse != self.num_tables:
            return (
                f"the number of sparse columns is {columns.num_sparse}, but the number of tables is {self.num_tables}"
            )
        tables = zip(columns.sparse, self.table_sizes, self.is_mean, strict=True)
        for table, (column, rows, is_mean) in enumerate(tables):
            if is_mean != (column.pooling == "mean"):
                return (
                    f"the pooling of column {column.name} is {column.pooling}, but the pooling of table {table} is "
                    f"{'mean' if is_mean else 'sum'}"
                )
            ids = rows if column.rows is None else column.rows
            if ids > rows or (ids < rows and not may_have_fewer_ids):
                return f"column {column.name} has {ids} ids, but table {table} has {rows} rows"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types; ``pooling`` only if a table averages, dcn's fields only with dcn."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        for name in ("pooling", "cross_layers", "cross_rank"):
            if not values[name]:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """Make an architecture from what ``to_dict`` returned.

        Raises:
            ConfigurationError: a key is missing or unknown, or the numbers do not form a network.
        """
        return make(cls, values, "the architecture", ConfigurationError)


def _whole_numbers(name: str, values: Iterable[int], largest: int) -> tuple[int, ...]:
    """Numbers of at least 1, of any integer type, as a tuple."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{name}={shown(values)} must be a list of whole numbers.")
    numbers = tuple(values)
    if len(numbers) > MAX_PARTS:
        raise ConfigurationError(f"{name} has {len(numbers):,} numbers, but at most {MAX_PARTS:,} are allowed.")
    for index, value in enumerate(numbers):
        place = name if name == "embedding_dim" else f"{name}[{index}]"
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(f"{place}={shown(value)} must be a whole number of at least 1.")
        if value > largest:
            raise ConfigurationError(f"{place}={value} is too large: at most {largest:,} is allowed.")
    return tuple(int(value) for value in numbers)
