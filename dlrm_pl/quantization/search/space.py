"""Recipes that a search may propose: the dtypes of each op, and how activation ranges are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.int8.dtypes import InteractionDtype
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.recipe import (
    ActivationScheme,
    LinearDtype,
    Observer,
    Recipe,
    WeightGranularity,
    dtypes_of,
    why_not_int8,
)
from dlrm_pl.runtime.tables import TableDtype


@dataclass(frozen=True)
class SpaceSettings:
    """The dtypes and observers that a search may choose from.

    If an op's dtype in the start recipe is not among them, the op starts with the first allowed dtype.

    Attributes:
        linears: dtypes that a Linear may have.
        interaction: dtypes that the interaction may have.
        tables: dtypes that an embedding table may have.
        ops: dtypes of single ops by name or pattern: ``{top_mlp.4: [fp32], "tables.*": [int8, fp16]}``. If several
            patterns match an op, the last one decides.
        observers: methods of finding the range of an activation.
        activation_schemes: ``affine``, ``symmetric`` or both.
        weight_granularities: ``per_channel``, ``per_tensor`` or both.

    Raises:
        ConfigurationError: an empty list, or an unknown choice.

    Example:
        >>> from dlrm_pl import SpaceSettings
        >>> space = SpaceSettings(tables=("int8", "fp16"), ops={"top_mlp.4": ["fp32"]})
        >>> space.linears
        ('int8', 'bf16', 'fp32')
    """

    linears: tuple[LinearDtype, ...] = ("int8", "bf16", "fp32")
    interaction: tuple[InteractionDtype, ...] = ("int8", "bf16", "fp32")
    tables: tuple[TableDtype, ...] = ("int8", "int4", "fp16", "fp32")
    ops: dict[str, list[str]] = field(default_factory=dict)
    observers: tuple[Observer, ...] = ("minmax", "histogram", "percentile", "kl")
    activation_schemes: tuple[ActivationScheme, ...] = ("affine", "symmetric")
    weight_granularities: tuple[WeightGranularity, ...] = ("per_channel", "per_tensor")

    def __post_init__(self) -> None:
        """Check that there is something to choose."""
        check_fields(self)
        lists = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "ops"} | self.ops
        for name, values in lists.items():
            if not values:
                raise ConfigurationError(f"space.{name} is empty. Leave at least one choice.")


class SearchSpace:
    """The search space of one architecture.

    Args:
        settings: space as written in a configuration.
        architecture: shape of the model, which determines the ops.

    Attributes:
        settings: the settings.
        dtypes: dtypes that each op may have, by op in the order of ``Recipe.ops``.

    Raises:
        ConfigurationError: an op does not exist, is not available in a dtype, or is to be int8 where the kernels cannot
            compute it in int8. The message lists what exists.
    """

    def __init__(self, settings: SpaceSettings, architecture: Architecture) -> None:
        self.settings = settings
        names = Recipe.all_float(architecture).ops
        kinds: dict[str, tuple[str, ...]] = {
            "tables": settings.tables,
            "interaction": settings.interaction,
        }
        dtypes = {op: kinds.get(op.split(".")[0], settings.linears) for op in names}
        reasons = {op: reason for op in names if (reason := why_not_int8(op, architecture))}
        for op in reasons:
            dtypes[op] = _floats(dtypes[op])
        crosses = architecture.interaction == "dcn"
        if crosses:
            dtypes["interaction"] = ("fp32",)
        for pattern, wanted in settings.ops.items():
            matched = [op for op in names if fnmatchcase(op, pattern)]
            if not matched:
                raise ConfigurationError(f"space.ops: there is no op {pattern!r}. The ops are {', '.join(names)}.")
            for op in matched:
                known = dtypes_of(op)
                if unknown := [dtype for dtype in wanted if dtype not in known]:
                    raise ConfigurationError(f"space.ops: {op} can be {', '.join(known)}, not {unknown[0]!r}.")
                if op in reasons and "int8" in wanted:
                    raise ConfigurationError(f"space.ops: {op} cannot be int8: {reasons[op]}. Leave int8 out.")
                if crosses and op == "interaction" and set(wanted) != {"fp32"}:
                    raise ConfigurationError(f"space.ops: with a cross network, {op} is fp32, not {', '.join(wanted)}.")
                dtypes[op] = tuple(wanted)
        self.dtypes: Mapping[str, tuple[str, ...]] = dtypes

    def allows(self, op: str, dtype: str) -> bool:
        """Whether an op may have a dtype."""
        return dtype in self.dtypes[op]

    def moved_into(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the first allowed dtype for each op whose own is not allowed."""
        for op, dtype in recipe.ops.items():
            if not self.allows(op, dtype):
                recipe = recipe.with_dtype(op, self.dtypes[op][0])
        return recipe

    def variants(self, recipe: Recipe) -> list[Recipe]:
        """Return the recipe with every other allowed combination of observer, scheme and granularity.

        Without an int8 Linear the list is empty, since these make no difference. The usual values come first, and the
        observer changes fastest.
        """
        if not recipe.has_int8_linears:
            return []
        variants = [
            replace(recipe, observer=observer, activation_scheme=scheme, weight_granularity=granularity)
            for granularity in self.settings.weight_granularities
            for scheme in self.settings.activation_schemes
            for observer in self.settings.observers
        ]
        return [variant for variant in variants if variant != recipe]


def _floats(dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the dtypes without int8, which the kernels do not have for this op."""
    return tuple(dtype for dtype in dtypes if dtype != "int8") or ("fp32",)
