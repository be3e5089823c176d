"""Search with an Optuna sampler, shared by the strategies ``tpe`` and ``bayesian``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from random import Random
from typing import Any

from dlrm_pl.extras import quiet_optuna
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.choices import Choices
from dlrm_pl.quantization.search.strategies.random import draws
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.runtime.int8_dlrm import fp32_bytes

log = logging.getLogger(__name__)

MakeSampler = Callable[[Any, int], Any]
"""Makes a sampler of Optuna from the module ``optuna`` and a seed."""

STUDY_NAME = "optuna.journal"
"""Name of the study's file, which Optuna's own tools open."""

_SMALLEST_VIOLATION = 1e-12


def search_by(context: SearchContext, name: str, make_sampler: MakeSampler) -> Generator[Recipe, Trial, None]:
    """Minimize the cost of the objective, with the criterion as a constraint.

    1. Try the start.
    2. Try what the sampler proposes, given all trials so far. If it proposes a recipe again, or the float model, try a
       random recipe that was not tried yet. The search ends when the space has no more recipes.

    The sampler sees dtypes as numbers, from the narrowest to the widest, and the rest as categories. Each proposal
    comes from a new sampler, seeded with the search's seed and the number of the proposal, so that a proposal depends
    only on the trials before it. Proposals are cached, since one may take seconds.

    Args:
        context: context of the search.
        name: name of the strategy.
        make_sampler: makes the sampler of one proposal.
    """
    import optuna  # Imported here because it is an extra and slow to import.

    space = _Space(context, optuna)
    study = space.study(name)
    tried: dict[Recipe, Trial] = {}
    unseen = draws(context)
    recipe: Recipe | None = context.start
    try:
        while recipe is not None:
            tried[recipe] = yield recipe
            space.add(study, tried[recipe])
            number = len(tried)

            def ask(number: int = number) -> dict[str, str]:
                return space.ask(study, lambda: make_sampler(optuna, _seed(context.seed, number)))

            recipe = space.choices.recipe(context.cached(f"{name}: proposal {number}", ask))
            if recipe is None or recipe in tried:
                recipe = next((drawn for drawn in unseen if drawn not in tried), None)
    finally:
        # A search that stops does not send its last trial.
        if recipe is not None and recipe not in tried and (last := context.log.find(recipe)) is not None:
            space.add(study, last)


class _Space:
    """Conversion between recipes and the parameters of Optuna."""

    def __init__(self, context: SearchContext, optuna: Any) -> None:
        self.choices = Choices(context)
        self._context = context
        self._optuna = optuna
        self._fp32_bytes = fp32_bytes(context.model)
        self._distributions = {
            name: optuna.distributions.IntDistribution(0, len(values) - 1)
            if self.choices.is_op(name)
            else optuna.distributions.CategoricalDistribution(values)
            for name, values in self.choices.options.items()
            if len(values) > 1
        }

    def study(self, name: str) -> Any:
        """Create an empty study: in a journal file of Optuna next to the log of trials, or in memory if that log is.

        The file of an earlier run is replaced: its trials are in the log, and are sent again.
        """
        path = self._context.log.sibling_path(STUDY_NAME)
        storage = None
        with quiet_optuna(self._optuna):
            if path is not None:
                path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # A killed run may have left it.
                if known := len(self._context.log):
                    log.info("%s: rewritten from the log, which has %d trials", path, known)
                backend = self._optuna.storages.journal.JournalFileBackend(str(path))
                storage = self._optuna.storages.JournalStorage(backend)
            return self._optuna.create_study(storage=storage, study_name=name)

    def add(self, study: Any, trial: Trial) -> None:
        """Put a finished trial into the study."""
        values = self.choices.values(trial.recipe)
        if any(values[name] not in options for name, options in self.choices.options.items()):
            return  # The start may lie outside the space, and the sampler only knows the space.
        with quiet_optuna(self._optuna):
            study.add_trial(
                self._optuna.create_trial(
                    params={name: self._encoded(name, values[name]) for name in self._distributions},
                    distributions=self._distributions,
                    value=self._cost(trial),
                    constraints={"drop": _violation(trial)},
                    user_attrs={"trial": trial.number, "recipe": trial.recipe.describe(), "reason": trial.reason},
                )
            )

    def ask(self, study: Any, sampler: Callable[[], Any]) -> dict[str, str]:
        """An option for each choice, by the trials of the study, which is not changed."""
        options = self.choices.options
        with quiet_optuna(self._optuna):
            scratch = self._optuna.create_study(sampler=sampler())
            scratch.add_trials(study.trials)
            asked: dict[str, Any] = scratch.ask(self._distributions).params
        return {
            name: options[name][asked.get(name, 0)] if self.choices.is_op(name) else asked.get(name, options[name][0])
            for name in options
        }

    def _encoded(self, name: str, value: str) -> int | str:
        return self.choices.options[name].index(value) if self.choices.is_op(name) else value

    def _cost(self, trial: Trial) -> float:
        """Cost by the objective; for a trial that was not timed, its share of bytes, so that trials still differ."""
        if trial.cost is not None:
            return trial.cost
        return self._context.bytes_of(trial.recipe) / self._fp32_bytes


def _seed(seed: int, number: int) -> int:
    """Seed of a proposal; not a sum, or searches with neighboring seeds would try the same recipes one trial apart."""
    return Random(f"{seed} {number}").getrandbits(32)


def _violation(trial: Trial) -> float:
    """By how much the drop exceeds the tolerance; above 0 exactly for trials that were not accepted."""
    if trial.verdict is None:
        return 1.0  # More than any score can drop.
    excess = trial.verdict.drop - trial.verdict.tolerance
    return min(excess, 0.0) if trial.accepted else max(excess, _SMALLEST_VIOLATION)
