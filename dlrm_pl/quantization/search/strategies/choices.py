"""The search space as a list of choices, for strategies that do not know what an op is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext

_WIDTHS = ("int4", "int8", "fp16", "bf16", "fp32")


class Knobs:
    """All recipes of a space.

    A knob is an op, whose choices are dtypes, or one of ``observer``, ``activation_scheme``, ``weight_granularity``.

    Args:
        context: whose space and start are meant.

    Attributes:
        choices: of each knob, dtypes from the narrowest to the widest.
        start: the value of each knob in the start, which need not be among its choices.
    """

    def __init__(self, context: SearchContext) -> None:
        settings = context.space.settings
        self._start = context.start
        self._ops = tuple(context.space.dtypes)
        self.choices: dict[str, tuple[str, ...]] = {
            op: tuple(sorted(dict.fromkeys(dtypes), key=_WIDTHS.index)) for op, dtypes in context.space.dtypes.items()
        }
        self.choices["observer"] = tuple(dict.fromkeys(settings.observers))
        self.choices["activation_scheme"] = tuple(dict.fromkeys(settings.activation_schemes))
        self.choices["weight_granularity"] = tuple(dict.fromkeys(settings.weight_granularities))
        self.start: dict[str, str] = self.values(context.start)

    def is_op(self, name: str) -> bool:
        """Whether a knob is the dtype of an op."""
        return name in self._ops

    def values(self, recipe: Recipe) -> dict[str, str]:
        """The value of each knob in a recipe."""
        return {name: recipe.ops[name] if self.is_op(name) else getattr(recipe, name) for name in self.choices}

    def recipe(self, values: Mapping[str, str]) -> Recipe | None:
        """The recipe of a value for each knob.

        None where it is no recipe of its own: all fp32, which is the model that one began with; or other ranges of
        activations where no Linear has any.
        """
        others = {name: values[name] for name in self.choices if not self.is_op(name)}
        recipe = replace(self._start, **others)  # type: ignore[arg-type]
        for op in self._ops:
            recipe = recipe.with_dtype(op, values[op])
        if set(recipe.ops.values()) == {"fp32"}:
            return None
        if not recipe.has_int8_linears and any(value != self._usual(name) for name, value in others.items()):
            return None
        return recipe

    def _usual(self, name: str) -> str:
        """The value that stands for all where it makes no difference."""
        return self.start[name] if self.start[name] in self.choices[name] else self.choices[name][0]
