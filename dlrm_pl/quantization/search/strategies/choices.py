"""The search space as a list of choices, for strategies that treat ops and observers alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext

_WIDTHS = ("int4", "int8", "fp16", "bf16", "fp32")


class Choices:
    """Choices in a space, each with its options.

    A choice is the dtype of an op, or one of ``observer``, ``activation_scheme`` and ``weight_granularity``.

    Args:
        context: context of the search, which has the space and the start.

    Attributes:
        options: options of each choice by its name, dtypes from the narrowest to the widest.
        start: the option that the start has in each choice; it need not be among the options.
    """

    def __init__(self, context: SearchContext) -> None:
        settings = context.space.settings
        self._start = context.start
        self._ops = tuple(context.space.dtypes)
        self.options: dict[str, tuple[str, ...]] = {
            op: tuple(sorted(dict.fromkeys(dtypes), key=_WIDTHS.index)) for op, dtypes in context.space.dtypes.items()
        }
        self.options["observer"] = tuple(dict.fromkeys(settings.observers))
        self.options["activation_scheme"] = tuple(dict.fromkeys(settings.activation_schemes))
        self.options["weight_granularity"] = tuple(dict.fromkeys(settings.weight_granularities))
        self.start: dict[str, str] = self.values(context.start)

    def is_op(self, name: str) -> bool:
        """Whether a choice is the dtype of an op."""
        return name in self._ops

    def values(self, recipe: Recipe) -> dict[str, str]:
        """Return a recipe's option for each choice."""
        return {name: recipe.ops[name] if self.is_op(name) else getattr(recipe, name) for name in self.options}

    def recipe(self, values: Mapping[str, str]) -> Recipe | None:
        """Return the recipe with these options, one for each choice.

        It is None if there is nothing to try: all ops are fp32, which is the float model; or no Linear is int8, so that
        an unusual observer, scheme or granularity gives the same model.
        """
        others = {name: values[name] for name in self.options if not self.is_op(name)}
        recipe = replace(self._start, **others)  # type: ignore[arg-type]
        for op in self._ops:
            recipe = recipe.with_dtype(op, values[op])
        if set(recipe.ops.values()) == {"fp32"}:
            return None
        if not recipe.has_int8_linears and any(value != self._usual(name) for name, value in others.items()):
            return None
        return recipe

    def _usual(self, name: str) -> str:
        """The option that stands for all where it makes no difference."""
        return self.start[name] if self.start[name] in self.options[name] else self.options[name][0]
