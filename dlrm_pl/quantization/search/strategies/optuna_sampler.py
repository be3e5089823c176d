"""Recipes proposed by a sampler of Optuna: the part that ``tpe`` and ``bayesian`` share."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.choices import Choices
from dlrm_pl.quantization.search.strategies.random import draws
from dlrm_pl.quantization.search.trial import Trial
from dlrm_pl.runtime.int8_dlrm import fp32_bytes

log = logging.getLogger(__name__)

MakeSampler = Callable[[Any, int], Any]
"""The module ``optuna`` and a seed -> a sampler of Optuna's."""

STUDY_NAME = "optuna.journal"
"""The study on disk, which Optuna's own tools open."""

_SMALLEST_VIOLATION = 1e-12


def search_by(context: SearchContext, name: str, make_sampler: MakeSampler) -> Generator[Recipe, Trial, None]:
    """Minimise the cost of the objective, within the criterion as a constraint.

    1. The start.
    2. What the sampler asks for, given all trials so far; where it asks for a recipe again, or for one that is the
       float model, a random one that was not tried. Ends when the space has no more.

    The sampler sees dtypes as numbers, from the narrowest to the widest, and the rest as categories. It is made anew
    for each proposal, with a seed from that of the search and the proposal's number, so that a proposal follows from
    the trials before it alone; and it is remembered, since it may take seconds.

    Args:
        context: of the search.
        name: of the strategy.
        make_sampler: for one proposal.
    """
    import optuna  # Not before it is used: it is an extra, and slow to import.

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
                recipe = next((other for other in unseen if other not in tried), None)
    finally:
        # A search that stops does not send its last trial.
        if recipe is not None and recipe not in tried and (last := context.log.find(recipe)) is not None:
            space.add(study, last)


class _Space:
    """Between recipes and Optuna's parameters."""

    def __init__(self, context: SearchContext, optuna: Any) -> None:
        self.choices = Choices(context)
        self._context, self._optuna = context, optuna
        self._fp32_bytes = fp32_bytes(context.model)
        self._distributions = {
            name: optuna.distributions.IntDistribution(0, len(values) - 1)
            if self.choices.is_op(name)
            else optuna.distributions.CategoricalDistribution(values)
            for name, values in self.choices.options.items()
            if len(values) > 1
        }

    def study(self, name: str) -> Any:
        """An empty study in Optuna's own storage: a journal beside the log of trials, or in memory as that is.

        What an earlier run left is replaced: the log has its trials, and sends them again.
        """
        path, storage = self._context.log.sibling_path(STUDY_NAME), None
        with _quiet(self._optuna):
            if path is not None:
                path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # That a killed run may have left.
                if known := len(self._context.log):
                    log.info("%s: written anew from the log, which has %d trials", path, known)
                backend = self._optuna.storages.journal.JournalFileBackend(str(path))
                storage = self._optuna.storages.JournalStorage(backend)
            return self._optuna.create_study(storage=storage, study_name=name)

    def add(self, study: Any, trial: Trial) -> None:
        """Put a finished trial into the study."""
        values = self.choices.values(trial.recipe)
        if any(values[name] not in options for name, options in self.choices.options.items()):
            return  # The start may lie outside of the space, of which the sampler alone knows.
        with _quiet(self._optuna):
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
        with _quiet(self._optuna):
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
        """Of the objective; where it has no latency to count, of the bytes, which tells rejected recipes apart."""
        if trial.cost is not None:
            return trial.cost
        return self._context.bytes_of(trial.recipe) / self._fp32_bytes


def _seed(seed: int, number: int) -> int:
    """Of a proposal. Not a sum, with which the searches of neighbouring seeds would try the same, one trial apart."""
    return Random(f"{seed} {number}").getrandbits(32)


def _violation(trial: Trial) -> float:
    """Above 0 exactly for what was not accepted: by how much its drop is beyond the tolerance."""
    if trial.verdict is None:
        return 1.0  # More than any score can lose.
    beyond = trial.verdict.drop - trial.verdict.tolerance
    return min(beyond, 0.0) if trial.accepted else max(beyond, _SMALLEST_VIOLATION)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without Optuna's own lines about studies, and its warnings about what it calls experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
