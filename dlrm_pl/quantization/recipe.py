"""A recipe: the dtype of each Linear and table, and how activations and weights are observed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.runtime.tables import TableDtype

LinearDtype = Literal["int8", "bf16", "fp32"]
Observer = Literal["minmax", "histogram"]
ActivationScheme = Literal["affine", "symmetric"]
_NAMED_OPS = 3
WeightGranularity = Literal["per_channel", "per_tensor"]


@dataclass(frozen=True)
class RecipeStart:
    """The recipe that the search begins with, the same for all Linears and for all tables.

    The recipe of Intel's LPOT example is ``linears: int8, tables: fp32``; here the tables are quantized as well,
    since they hold nearly all bytes of a DLRM.

    Attributes:
        linears: dtype of every Linear of both MLPs.
        tables: dtype of every embedding table; int8 and int4 are row-wise, with a scale and a bias for each row.
        observer: how the range of an activation is found: its minimum and maximum, or the range that minimises
            the squared error of a histogram.
        activation_scheme: affine (a range with its own zero point) or symmetric (zero in the middle).
        weight_granularity: a scale for each output channel, or one for the whole matrix.
        reduce_range: use 7 bits for activations. Processors without VNNI add pairs of products in 16 bits and
            saturate with 8. None: as this processor needs.
    """

    linears: LinearDtype = "int8"
    tables: TableDtype = "int8"
    observer: Observer = "minmax"
    activation_scheme: ActivationScheme = "affine"
    weight_granularity: WeightGranularity = "per_channel"
    reduce_range: bool | None = None


@dataclass(frozen=True)
class Recipe:
    """One point of the search: hashable, serialisable, and the same words as its JSON.

    Attributes:
        bottom_mlp: dtype of each Linear of the bottom MLP.
        top_mlp: dtype of each Linear of the top MLP.
        tables: dtype of each table.
        observer: see ``RecipeStart``, as the following.
        activation_scheme: see ``RecipeStart``.
        weight_granularity: see ``RecipeStart``.
        reduce_range: see ``RecipeStart``.
    """

    bottom_mlp: tuple[LinearDtype, ...]
    top_mlp: tuple[LinearDtype, ...]
    tables: tuple[TableDtype, ...]
    observer: Observer = "minmax"
    activation_scheme: ActivationScheme = "affine"
    weight_granularity: WeightGranularity = "per_channel"
    reduce_range: bool = False

    @classmethod
    def starting_from(cls, start: RecipeStart, architecture: Architecture, *, has_vnni: bool) -> Recipe:
        """Spread ``start`` over the Linears and tables of an architecture."""
        return cls(
            bottom_mlp=(start.linears,) * (len(architecture.bottom_mlp) - 1),
            # The top MLP's input is not in its widths, so there is one Linear for each.
            top_mlp=(start.linears,) * len(architecture.top_mlp),
            tables=(start.tables,) * architecture.num_tables,
            observer=start.observer,
            activation_scheme=start.activation_scheme,
            weight_granularity=start.weight_granularity,
            reduce_range=not has_vnni if start.reduce_range is None else start.reduce_range,
        )

    @property
    def ops(self) -> dict[str, str]:
        """Dtype by op, in the order of the forward pass: ``bottom_mlp.0`` ..., ``tables.0`` ..., ``top_mlp.0`` ..."""
        return {
            f"{part}.{index}": dtype
            for part, dtypes in (
                ("bottom_mlp", self.bottom_mlp),
                ("tables", self.tables),
                ("top_mlp", self.top_mlp),
            )
            for index, dtype in enumerate(dtypes)
        }

    @property
    def quantized_ops(self) -> tuple[str, ...]:
        """Names of the ops in int8 or int4."""
        return tuple(op for op, dtype in self.ops.items() if dtype in ("int8", "int4"))

    def with_dtype(self, op: str, dtype: str) -> Recipe:
        """The same recipe but for one op.

        Raises:
            ConfigurationError: there is no such op, or it does not come in that dtype.
        """
        if op not in self.ops:
            raise ConfigurationError(f"There is no op {op!r}. The ops are {', '.join(self.ops)}.")
        part, index = op.split(".")
        allowed = get_args(TableDtype if part == "tables" else LinearDtype)
        if dtype not in allowed:
            raise ConfigurationError(f"{op} comes in {', '.join(allowed)}, not in {dtype!r}.")
        dtypes = list(getattr(self, part))
        dtypes[int(index)] = dtype
        change: dict[str, Any] = {part: tuple(dtypes)}
        return replace(self, **change)

    def describe(self) -> str:
        """One line for people: how many ops of which dtype, and what is not the usual."""
        words = []
        parts = {"Linears": ("bottom_mlp.", "top_mlp."), "tables": ("tables.",)}
        for name, prefixes in parts.items():
            ops = {op: dtype for op, dtype in self.ops.items() if op.startswith(prefixes)}
            counts = Counter(ops.values()).most_common()
            few = [[op for op, other in ops.items() if other == dtype] for dtype, _ in counts[1:]]
            # Which ones, where they are few: else the trials that fall back one op each would read the same.
            named = ["", *(f" ({', '.join(found)})" if len(found) <= _NAMED_OPS else "" for found in few)]
            words.append(
                f"{name} " + " + ".join(f"{n} {dtype}{who}" for (dtype, n), who in zip(counts, named, strict=True))
            )
        words.append(f"{self.observer}, {self.activation_scheme}, {self.weight_granularity}")
        if self.reduce_range:
            words.append("7-bit activations")
        return "; ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """The inverse of ``to_dict``, also after a round trip through JSON."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
