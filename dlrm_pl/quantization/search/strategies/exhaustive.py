"""Strategy ``exhaustive``: try every recipe in the space, those nearest to the start first."""

from __future__ import annotations

import itertools
from collections.abc import Generator

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.choices import Choices
from dlrm_pl.quantization.search.trials.trial import Trial


def exhaustive(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Try the start, then all recipes that differ from it in one choice, in two, and so on.

    A choice is the dtype of an op, the observer, the activation scheme or the weight granularity; ops come in the order
    in which they run, dtypes from the narrowest to the widest. It is meant for small spaces, such as ``space.ops`` can
    define; ``max_trials`` limits it to the neighbors of the start.

    Source: the strategy of the same name in Intel's LPOT 1.6, which tries quantized dtypes only, in the order of the
    cross product, so that a search that is cut off has varied only a few ops.
    """
    yield context.start
    choices = Choices(context)
    others = {
        name: [value for value in options if value != choices.start[name]] for name, options in choices.options.items()
    }
    # A choice of the start that is outside the space has to change.
    forced = {name for name, options in choices.options.items() if choices.start[name] not in options}
    free = [name for name in choices.options if name not in forced and others[name]]
    for count in range(len(free) + 1):
        for changed in itertools.combinations(free, count):
            names = [name for name in choices.options if name in forced or name in changed]
            for values in itertools.product(*(others[name] for name in names)):
                recipe = choices.recipe(choices.start | dict(zip(names, values, strict=True)))
                if recipe is not None:
                    yield recipe
