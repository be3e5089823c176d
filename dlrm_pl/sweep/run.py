"""A whole sweep: trials in a folder, training runs with other seeds, and the final files and report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.sweep.comparison import Comparison
from dlrm_pl.sweep.folder import BEST, JOURNAL, PICTURE, TRIALS, sweep_folder, write_best, write_trials
from dlrm_pl.sweep.search import Train, repeat, search
from dlrm_pl.sweep.settings import SweepSettings
from dlrm_pl.sweep.space import Space
from dlrm_pl.sweep.study import Study
from dlrm_pl.sweep.trial import Trial, best_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweep:
    """What to search, and where to write the results.

    Attributes:
        folder: folder of the sweep.
        space: settings that vary.
        settings: how to choose, prune and stop.
        given: what the configuration says about the settings of the space.
        seed: seed of all trials.
        identity: what else the scores depend on, in plain JSON types.
        overwrite: whether a sweep with other settings may be replaced.
        command: command that trains with the best settings.
    """

    folder: Path
    space: Space
    settings: SweepSettings
    given: Mapping[str, Any]
    seed: int
    identity: Mapping[str, Any]
    overwrite: bool
    command: str

    @property
    def stated(self) -> dict[str, Any]:
        """Settings that an earlier sweep must share for this one to continue it."""
        chosen = {name: getattr(self.settings, name) for name in ("sampler", "pruner", "seed", "validations")}
        return {"space": self.space.statement(), **chosen, **self.identity}


@dataclass(frozen=True)
class SweepOutcome:
    """Report of a sweep.

    Attributes:
        data: report for JSON.
        show: function that prints the report.
        error: why there is no best trial; None if there is one.
    """

    data: dict[str, Any]
    show: Callable[[], None]
    error: ConfigurationError | None


def run_sweep(
    sweep: Sweep,
    train: Train,
    complete_values: Callable[[Mapping[str, Any]], dict[str, Any]],
    announce: Callable[[], None],
) -> SweepOutcome:
    """Run a sweep, or continue one.

    Args:
        sweep: the sweep to run.
        train: function that trains a trial.
        complete_values: function that adds to a trial's settings those that follow from them.
        announce: function that says what will be trained; called once the folder is known to be free.

    Raises:
        OutputError: the folder holds something else, or is in use.
    """
    names, settings = list(sweep.space.entries), sweep.settings
    with sweep_folder(sweep.folder, sweep.stated, sweep.overwrite) as folder:
        announce()
        study = Study(folder / JOURNAL, sweep.space, settings)
        if study.trials:
            log.info("%s: continuing; trials finished before: %d", sweep.folder, len(study.trials))

        def write() -> None:
            write_trials(folder, study.trials, names)
            if best := best_of(study.trials):
                write_best(folder, best, complete_values(best.values), sweep.command)

        search(study, sweep.space, settings, sweep.given, sweep.seed, train, write)
        write()
        comparison = Comparison.of(repeat(study, settings, sweep.seed, train))
        _write_picture(folder / PICTURE, study.trials, sweep, comparison)
    return _outcome(sweep, study.trials, comparison, complete_values)


def _write_picture(path: Path, trials: list[Trial], sweep: Sweep, comparison: Comparison | None) -> None:
    from dlrm_pl.sweep.plot import write_plot  # Matplotlib takes a second to import.

    write_plot(path, trials, sweep.space, sweep.settings.validations, comparison)


def _outcome(
    sweep: Sweep,
    trials: list[Trial],
    comparison: Comparison | None,
    complete_values: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> SweepOutcome:
    best = best_of(trials)
    data: dict[str, Any] = {
        "output": str(sweep.folder),
        "trials": [trial.to_dict() for trial in trials],
        "best": None if best is None else {"trial": best.number, "auroc": best.auroc},
        "repeats": None,
    }
    if best is None:
        reasons = [trial.reason for trial in trials if trial.reason]
        error = ConfigurationError(
            f"{sweep.folder}: none of {len(trials)} trials is complete, so there are no best settings. The last one "
            f"failed with: {reasons[-1] if reasons else 'no reason'}"
        )
        return SweepOutcome(data, lambda: None, error)
    data["best"]["values"] = complete_values(best.values)
    if comparison is not None:
        data["repeats"] = {
            "seeds": list(comparison.seeds),
            "best": list(comparison.best),
            "given": list(comparison.given),
            "gain": comparison.gain,
            "half_width": comparison.half_width,
            "exceeds_noise": comparison.exceeds_noise,
        }

    def show() -> None:
        from rich.console import Console

        from dlrm_pl.sweep.summary import print_summary

        written = (
            f"{sweep.folder}: {BEST}, {TRIALS}, {PICTURE}, {JOURNAL}\ntrain with the best settings: {sweep.command} "
            "(--overwrite replaces an earlier run)"
        )
        print_summary(Console(), trials, comparison, written)

    return SweepOutcome(data, show, None)
