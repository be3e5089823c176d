"""Loop of a sweep: propose, train, store; then train the best and the given settings with other seeds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dlrm_pl.sweep.settings import SweepSettings
from dlrm_pl.sweep.space import Space
from dlrm_pl.sweep.study import Judge, Study
from dlrm_pl.sweep.trial import Trial, best_of

log = logging.getLogger(__name__)

Train = Callable[[Trial, Judge], Trial]
"""Trains with the settings and the seed of a trial, and returns it with its scores; a failure is recorded as its state.
"""


@dataclass(frozen=True)
class Repeated:
    """Training runs with other seeds, the same for both settings.

    Attributes:
        best: runs with the best settings.
        given: runs with the settings of the configuration.
    """

    best: tuple[Trial, ...] = ()
    given: tuple[Trial, ...] = ()


def search(
    study: Study,
    space: Space,
    settings: SweepSettings,
    given: Mapping[str, Any],
    seed: int,
    train: Train,
    finished: Callable[[], None],
) -> None:
    """Run trials until their number, the time or the space is used up; the first one has the given settings.

    Args:
        study: storage, which may hold trials from an earlier run.
        space: search space of the sweep.
        settings: settings that say when to stop.
        given: what the configuration says about the settings of the space.
        seed: seed of all trials.
        train: function that trains a trial.
        finished: function called after each trial.
    """
    while not _is_over(study, settings):
        number = len(study.trials) + 1
        values = dict(given) if number == 1 else study.propose()
        if values is None:
            log.info("all combinations of the space were tried")
            return
        began = time.monotonic()
        trial = Trial(number, values, "failed", seed=seed, is_given=number == 1)
        judge = study.judge()
        trial = train(trial, judge)
        trial = replace(trial, seconds=round(time.monotonic() - began, 3), noted=judge.noted)
        study.add(trial)
        log.info("%s", line_of(trial, study.trials, settings))
        finished()


def repeat(study: Study, settings: SweepSettings, seed: int, train: Train) -> Repeated:
    """Train the best and the given settings with the same other seeds; nothing is pruned."""
    best = best_of(study.trials)
    if best is None or not settings.repeats:
        return Repeated()
    found: dict[bool, list[Trial]] = {False: [], True: []}
    wanted = [study.trials[0]] if best.is_given else [best, study.trials[0]]
    for other in range(seed + 1, seed + 1 + settings.repeats):
        for origin in wanted:
            trial = study.repeat(origin.values, other)
            if trial is None:
                began = time.monotonic()
                plan = replace(origin, seed=other, state="failed", scores={}, reason="", rows=0, noted={})
                trial = train(plan, lambda number, auroc: False)
                trial = replace(trial, seconds=round(time.monotonic() - began, 3))
                study.add_repeat(trial)
                what = "the given settings" if origin.is_given else f"trial {origin.number}"
                log.info("%s with seed %d: %s", what, other, _outcome(trial))
            found[origin.is_given].append(trial)
    return Repeated(best=tuple(found[best.is_given]), given=tuple(found[True]))


def line_of(trial: Trial, trials: list[Trial], settings: SweepSettings) -> str:
    """Describe a trial in one line."""
    of = "" if settings.trials is None else f" of {settings.trials}"
    best = best_of(trials)
    so_far = f"best {best.auroc:.4f} (trial {best.number})" if best is not None else "no trial is complete yet"
    settings_of = "the given settings" if trial.is_given else values_text(trial.values)
    return f"trial {trial.number}{of}: {_outcome(trial)}; {so_far}; {settings_of}; {trial.seconds:.1f} s"


def values_text(values: Mapping[str, Any]) -> str:
    """Return settings on one line, without the names of their groups: ``learning_rate=0.1, top_mlp=64-1``."""
    return ", ".join(f"{name.rpartition('.')[2]}={value_text(value)}" for name, value in values.items())


def value_text(value: Any) -> str:
    """Return a value as short text: widths as ``64-1``, and numbers with four digits."""
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _outcome(trial: Trial) -> str:
    if trial.state == "failed":
        # The full reason is in the table of trials.
        return f"failed: {trial.reason.partition(': ')[0].partition('. ')[0].rstrip('.')}"
    where = f", pruned after {len(trial.scores)} of its validations" if trial.state == "pruned" else ""
    return f"val AUROC {trial.auroc:.4f}{where}"


def _is_over(study: Study, settings: SweepSettings) -> bool:
    if settings.trials is not None and len(study.trials) >= settings.trials:
        return True
    spent = sum(trial.seconds for trial in study.trials)
    return bool(settings.timeout_s) and spent >= settings.timeout_s
