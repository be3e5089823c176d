"""The recipes that a search may propose: dtypes of each op, and how ranges are found."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.recipe import (
    ActivationScheme,
    LinearDtype,
    Observer,
    Recipe,
    RecipeStart,
    WeightGranularity,
    dtypes_of,
    why_not_int8,
)
from dlrm_pl.runtime.int8_dlrm import InteractionDtype
from dlrm_pl.runtime.tables import TableDtype

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpaceSettings:
    """What a search may choose from. An op of the start recipe with a dtype outside gets the first one inside.

    Attributes:
        linears: dtypes of the Linears.
        interaction: dtypes of the interaction.
        tables: dtypes of the tables.
        ops: dtypes of single ops, by name or pattern: ``{top_mlp.4: [fp32], "tables.*": [int8, fp16]}``; the last
            pattern that fits an op holds.
        observers: how ranges of activations are found.
        activation_schemes: affine, symmetric.
        weight_granularities: per_channel, per_tensor.
    """

    linears: tuple[LinearDtype, ...] = ("int8", "bf16", "fp32")
    interaction: tuple[InteractionDtype, ...] = ("int8", "bf16", "fp32")
    tables: tuple[TableDtype, ...] = ("int8", "int4", "fp16", "fp32")
    ops: dict[str, list[str]] = field(default_factory=dict)
    observers: tuple[Observer, ...] = ("minmax", "histogram", "percentile", "kl")
    activation_schemes: tuple[ActivationScheme, ...] = ("affine", "symmetric")
    weight_granularities: tuple[WeightGranularity, ...] = ("per_channel", "per_tensor")

    def __post_init__(self) -> None:
        """Check that there is something to choose.

        Raises:
            ConfigurationError: an empty list, or a choice that there is not.
        """
        check_fields(self)
        lists = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "ops"} | self.ops
        for name, values in lists.items():
            if not values:
                raise ConfigurationError(f"space.{name} is empty: leave at least one choice.")


class SearchSpace:
    """The choices for one architecture.

    Args:
        settings: as written in a configuration.
        architecture: whose ops there are.

    Raises:
        ConfigurationError: an op that does not exist, or does not come in a dtype; lists those there are. Or one that
            the kernels cannot do in int8.
    """

    def __init__(self, settings: SpaceSettings, architecture: Architecture) -> None:
        self.settings = settings
        self._architecture = architecture
        names = Recipe.all_float(architecture).ops
        kinds: dict[str, tuple[str, ...]] = {
            "tables": settings.tables,
            "interaction": settings.interaction,
        }
        dtypes = {op: kinds.get(op.split(".")[0], settings.linears) for op in names}
        reasons = {op: reason for op in names if (reason := why_not_int8(op, architecture))}
        for op in reasons:
            dtypes[op] = _floats(dtypes[op])
        for pattern, wanted in settings.ops.items():
            matched = [op for op in names if fnmatchcase(op, pattern)]
            if not matched:
                raise ConfigurationError(f"space.ops: there is no op {pattern!r}. The ops are {', '.join(names)}.")
            for op in matched:
                known = dtypes_of(op)
                if unknown := [dtype for dtype in wanted if dtype not in known]:
                    raise ConfigurationError(f"space.ops: {op} comes in {', '.join(known)}, not in {unknown[0]!r}.")
                if op in reasons and "int8" in wanted:
                    raise ConfigurationError(f"space.ops: {op} cannot be int8: {reasons[op]}. Leave int8 out.")
                dtypes[op] = tuple(wanted)
        self.dtypes: Mapping[str, tuple[str, ...]] = dtypes
        """What each op may be, in the order of ``Recipe.ops``."""

    def allows(self, op: str, dtype: str) -> bool:
        """Whether an op may have a dtype."""
        return dtype in self.dtypes[op]

    def first_recipe(self, start: RecipeStart) -> Recipe:
        """The recipe that a search begins with: the start for all ops, adjusted to the space."""
        wanted = Recipe.starting_from(start, self._architecture)
        adjusted = self.moved_into(wanted)
        if adjusted != wanted:
            log.info("start recipe adjusted to the search space: %s", adjusted.describe())
        return adjusted

    def moved_into(self, recipe: Recipe) -> Recipe:
        """The recipe, with the first dtype allowed for each op whose own is not."""
        for op, dtype in recipe.ops.items():
            if not self.allows(op, dtype):
                recipe = recipe.with_dtype(op, self.dtypes[op][0])
        return recipe

    def variants(self, recipe: Recipe) -> list[Recipe]:
        """The same dtypes with every other allowed observer, scheme and granularity; none without an int8 Linear.

        Ordered so that what is usual comes first: the observer changes fastest.
        """
        if not recipe.has_int8_linears:
            return []
        found = [
            replace(recipe, observer=observer, activation_scheme=scheme, weight_granularity=granularity)
            for granularity in self.settings.weight_granularities
            for scheme in self.settings.activation_schemes
            for observer in self.settings.observers
        ]
        return [variant for variant in found if variant != recipe]


def _floats(dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """Without int8, which the kernels do not have for this op."""
    return tuple(dtype for dtype in dtypes if dtype != "int8") or ("fp32",)
