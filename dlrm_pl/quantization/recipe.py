"""A recipe: the dtype of each Linear and table, and how activations and weights are observed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.int8.dtypes import InteractionDtype
from dlrm_pl.kernels.int8.rows import MAX_DIM, MAX_INPUTS, MAX_TABLES, TableDtype
from dlrm_pl.model.architecture import Architecture

LinearDtype = Literal["int8", "bf16", "fp32"]
Observer = Literal["minmax", "histogram", "percentile", "kl"]
ActivationScheme = Literal["affine", "symmetric"]
_NAMED_OPS = 3
WeightGranularity = Literal["per_channel", "per_tensor"]


@dataclass(frozen=True)
class RecipeStart:
    """The recipe that the search begins with, the same for all Linears and for all tables.

    The recipe of Intel's LPOT example is ``linears: int8, tables: fp32``; here the tables are quantized as well,
    because they make up nearly all of a DLRM's bytes.

    Attributes:
        linears: dtype of every Linear of both MLPs; a Linear with more than 65,792 inputs stays fp32 instead of int8.
        tables: dtype of every embedding table; int8 and int4 are row-wise, with a scale for each row.
        interaction: dtype of the dot products. int8: products of int8 vectors, in one pass with the lookups; bf16 or
            fp32: products of floats. None: int8 if the kernels support it, that is for dot products of up to 64 int8 or
            int4 tables with up to 32,768 values per row, otherwise fp32. With a cross network, whose products are
            Linears, it is fp32.
        observer: how the range of an activation is chosen: its minimum and maximum (minmax); or from a histogram, the
            range with the least squared error (histogram), the range without one value in a million at either end
            (percentile), or the range whose quantized values have the least KL divergence (kl).
        activation_scheme: affine (a range with its own zero point) or symmetric (zero in the middle).
        weight_granularity: per_channel (a scale for each output of a Linear) or per_tensor (one for the whole matrix).
        bias_correction: shift the last bias, and so all logits alike, until the probabilities of the calibration rows
            add up to fp32's; quantization biases the mean prediction slightly, which distorts bids.

    Example:
        >>> from dlrm_pl import RecipeStart
        >>> RecipeStart(tables="int4", observer="kl").tables
        'int4'
    """

    linears: LinearDtype = "int8"
    tables: TableDtype = "int8"
    interaction: InteractionDtype | None = None
    observer: Observer = "minmax"
    activation_scheme: ActivationScheme = "affine"
    weight_granularity: WeightGranularity = "per_channel"
    bias_correction: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: an unknown dtype or method.
        """
        check_fields(self)


@dataclass(frozen=True)
class Recipe:
    """A point in the search space: the dtype of each op, and how ranges are observed. Hashable and serializable.

    Attributes:
        bottom_mlp: dtype of each Linear of the bottom MLP.
        top_mlp: dtype of each Linear of the top MLP.
        tables: dtype of each table.
        interaction: dtype of the dot products.
        observer: as in ``RecipeStart``.
        activation_scheme: as in ``RecipeStart``.
        weight_granularity: as in ``RecipeStart``.
        bias_correction: as in ``RecipeStart``.
        cross_net: dtypes of the Linears of the cross network: V and W of the first layer, then of the second, and so
            on; empty where there is none.

    Example:
        >>> from dlrm_pl import Architecture, Recipe, RecipeStart
        >>> architecture = Architecture(table_sizes=(100, 50), embedding_dim=4, bottom_mlp=(13, 4), top_mlp=(8, 1))
        >>> recipe = Recipe.starting_from(RecipeStart(), architecture).with_dtype("tables.1", "int4")
        >>> recipe.describe()
        'Linears 3 int8; tables 1 int8 + 1 int4 (tables.1); interaction int8; minmax, affine, per_channel'
    """

    bottom_mlp: tuple[LinearDtype, ...]
    top_mlp: tuple[LinearDtype, ...]
    tables: tuple[TableDtype, ...]
    interaction: InteractionDtype = "int8"
    observer: Observer = "minmax"
    activation_scheme: ActivationScheme = "affine"
    weight_granularity: WeightGranularity = "per_channel"
    bias_correction: bool = True
    cross_net: tuple[LinearDtype, ...] = ()

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: an unknown dtype or method, or a cross layer with a single Linear.
        """
        check_fields(self)
        if len(self.cross_net) % 2:
            raise ConfigurationError(
                f"cross_net has {len(self.cross_net)} dtypes, but each cross layer has two Linears. Give the dtypes "
                "of V and W."
            )

    @classmethod
    def starting_from(cls, start: RecipeStart, architecture: Architecture) -> Recipe:
        """Spread ``start`` over the Linears and tables of an architecture."""

        def linears(part: str) -> tuple[LinearDtype, ...]:
            ops = (op for op in architecture.linear_shapes if op.startswith(f"{part}."))
            return tuple(
                "fp32" if start.linears == "int8" and why_not_int8(op, architecture) else start.linears for op in ops
            )

        return cls(
            bottom_mlp=linears("bottom_mlp"),
            top_mlp=linears("top_mlp"),
            tables=(start.tables,) * architecture.num_tables,
            interaction=_usual_interaction(start, architecture) if start.interaction is None else start.interaction,
            observer=start.observer,
            activation_scheme=start.activation_scheme,
            weight_granularity=start.weight_granularity,
            bias_correction=start.bias_correction,
            cross_net=linears("cross_net"),
        )

    @classmethod
    def all_float(
        cls, architecture: Architecture, linears: LinearDtype = "fp32", tables: TableDtype = "fp32"
    ) -> Recipe:
        """Return an unquantized recipe: fp32, or half precision with ``linears="bf16"`` and ``tables="fp16"``."""
        half = linears == "bf16" and architecture.interaction != "dcn"  # A cross network adds its products to floats.
        start = RecipeStart(linears=linears, tables=tables, interaction="bf16" if half else "fp32")
        return cls.starting_from(start, architecture)

    @property
    def ops(self) -> dict[str, str]:
        """Dtypes by op, as they run: ``bottom_mlp.0`` ..., ``tables.0`` ..., ``interaction``, ``top_mlp.0`` ...

        Those of a cross network, such as ``cross_net.0.v``, ``cross_net.0.w`` and ``cross_net.1.v``, follow the
        interaction.
        """

        def of(part: str, dtypes: tuple[str, ...]) -> dict[str, str]:
            return {f"{part}.{index}": dtype for index, dtype in enumerate(dtypes)}

        return {
            **of("bottom_mlp", self.bottom_mlp),
            **of("tables", self.tables),
            "interaction": self.interaction,
            **{f"cross_net.{index // 2}.{'vw'[index % 2]}": dtype for index, dtype in enumerate(self.cross_net)},
            **of("top_mlp", self.top_mlp),
        }

    @property
    def quantized_ops(self) -> tuple[str, ...]:
        """Names of the ops in int8 or int4."""
        return tuple(op for op, dtype in self.ops.items() if dtype in ("int8", "int4"))

    @property
    def has_int8_linears(self) -> bool:
        """True if a Linear is int8, so that observer, scheme and granularity matter."""
        return "int8" in (*self.bottom_mlp, *self.cross_net, *self.top_mlp)

    @property
    def chains(self) -> dict[str, tuple[LinearDtype, ...]]:
        """Dtypes of consecutive Linears, by name: each MLP, and V and W of each cross layer."""
        layers = range(len(self.cross_net) // 2)
        crossed = {f"cross_net.{layer}": self.cross_net[2 * layer : 2 * layer + 2] for layer in layers}
        return {"bottom_mlp": self.bottom_mlp, **crossed, "top_mlp": self.top_mlp}

    def with_dtype(self, op: str, dtype: str) -> Recipe:
        """Return a copy of the recipe in which one op has another dtype.

        Raises:
            ConfigurationError: there is no such op, or it is not available in that dtype.
        """
        if op not in self.ops:
            raise ConfigurationError(f"There is no op {op!r}. The ops are {', '.join(self.ops)}.")
        allowed = dtypes_of(op)
        if dtype not in allowed:
            raise ConfigurationError(f"{op} can be {', '.join(allowed)}, not {dtype!r}.")
        part, _, index = op.partition(".")
        change: dict[str, Any] = {part: dtype}
        if index:
            dtypes = list(getattr(self, part))
            layer, _, linear = index.partition(".")
            dtypes[2 * int(layer) + "vw".index(linear) if linear else int(layer)] = dtype
            change = {part: tuple(dtypes)}
        return replace(self, **change)

    def alone(self, op: str, dtype: str) -> Recipe:
        """Return the recipe with one op in a dtype and all others in fp32; observers and other settings stay.

        Raises:
            ConfigurationError: there is no such op, or it is not available in that dtype.
        """
        fp32: Literal["fp32"] = "fp32"
        in_fp32 = replace(
            self,
            bottom_mlp=(fp32,) * len(self.bottom_mlp),
            top_mlp=(fp32,) * len(self.top_mlp),
            cross_net=(fp32,) * len(self.cross_net),
            tables=(fp32,) * len(self.tables),
            interaction=fp32,
        )
        return in_fp32.with_dtype(op, dtype)

    def describe(self) -> str:
        """Summarize the recipe in one line: the number of ops by dtype, and settings that are not the defaults."""
        words = []
        parts = {"Linears": ("bottom_mlp.", "cross_net.", "top_mlp."), "tables": ("tables.",)}
        for name, prefixes in parts.items():
            ops = {op: dtype for op, dtype in self.ops.items() if op.startswith(prefixes)}
            counts = Counter(ops.values()).most_common()
            few = [[op for op, other in ops.items() if other == dtype] for dtype, _ in counts[1:]]
            # Name the ops if they are few: otherwise, trials that each fall back one op would look the same.
            named = ["", *(f" ({', '.join(found)})" if len(found) <= _NAMED_OPS else "" for found in few)]
            words.append(
                f"{name} " + " + ".join(f"{n} {dtype}{who}" for (dtype, n), who in zip(counts, named, strict=True))
            )
        words.append(f"interaction {self.interaction}")
        words.append(f"{self.observer}, {self.activation_scheme}, {self.weight_granularity}")
        if not self.bias_correction:
            words.append("no bias correction")
        return "; ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe in plain JSON types; ``cross_net`` only where there is one."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        if not self.cross_net:
            del values["cross_net"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Return the recipe of a dict that ``to_dict`` made, also after a round trip through JSON."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)


def dtypes_of(op: str) -> tuple[str, ...]:
    """Return the dtypes that an op, such as ``tables.0`` or ``top_mlp.4``, can have."""
    part = op.partition(".")[0]
    return get_args({"tables": TableDtype, "interaction": InteractionDtype}.get(part, LinearDtype))


def why_not_int8(op: str, architecture: Architecture) -> str | None:
    """Return why the kernels cannot compute an op in int8; None if they can."""
    if op == "interaction":
        if architecture.interaction == "dcn":
            return "interaction 'dcn' computes its products in the Linears cross_net.*"
        if architecture.interaction != "dot":
            return f"interaction {architecture.interaction!r} multiplies nothing"
        tables, dim = architecture.num_tables, architecture.embedding_dim
        if tables > MAX_TABLES or dim > MAX_DIM:
            return f"{tables:,} tables of {dim:,} values exceed the maximum of {MAX_TABLES} tables of {MAX_DIM:,}"
    elif not op.startswith("tables."):
        inputs, _ = architecture.linear_shapes[op]
        if inputs > MAX_INPUTS:
            return f"{inputs:,} inputs are more than {MAX_INPUTS:,}, the most whose sums fit into 32 bits"
    return None


def _usual_interaction(start: RecipeStart, architecture: Architecture) -> InteractionDtype:
    """int8 where the kernels take it; float tables keep their precision in a float interaction."""
    integers = start.tables in ("int8", "int4")
    return "int8" if integers and why_not_int8("interaction", architecture) is None else "fp32"
