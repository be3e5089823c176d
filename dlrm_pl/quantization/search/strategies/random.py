"""Strategy ``random``: draw recipes uniformly from the space, without repetition."""

from __future__ import annotations

import math
from collections.abc import Generator

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.choices import Choices
from dlrm_pl.quantization.search.trials.trial import Trial


def random(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Try the start, then seeded draws without replacement, until the space has no more recipes.

    This is the baseline that other strategies have to beat.

    Source: Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization", JMLR 13. Unlike the strategy of
    the same name in Intel's LPOT 1.6, it also draws float dtypes.
    """
    yield context.start
    yield from draws(context)


def draws(context: SearchContext) -> Generator[Recipe, object, None]:
    """Generate every recipe of the space once, in random order.

    This is a Fisher-Yates shuffle that stores only the touched entries of its array, so memory grows with the number of
    draws and not with the space, which can have more recipes than a machine has bytes.
    """
    choices = Choices(context)
    generator = context.random()
    sizes = [len(options) for options in choices.options.values()]
    moved: dict[int, int] = {}
    for last in reversed(range(math.prod(sizes))):
        drawn = generator.randint(0, last)
        number = moved.pop(drawn, drawn)
        if drawn != last:
            moved[drawn] = moved.pop(last, last)
        values = {}
        for name, options in choices.options.items():
            number, digit = divmod(number, len(options))
            values[name] = options[digit]
        recipe = choices.recipe(values)
        if recipe is not None:
            yield recipe
