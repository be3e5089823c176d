"""Trials of a sweep in Optuna's storage, from which Optuna proposes settings and prunes.

A trial is stored as one line when it ends, so a sweep that was killed continues as if it had not been. Proposals depend
only on the finished trials: each is made by a new sampler, whose seed follows from the sweep's seed and the number of
the proposal. While a trial runs, a study in memory judges it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol

from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import DataFormatError
from dlrm_pl.extras import missing_extra, quiet_optuna
from dlrm_pl.sweep.entries import Choices, Entry
from dlrm_pl.sweep.settings import SweepSettings
from dlrm_pl.sweep.space import Space
from dlrm_pl.sweep.trial import Trial

log = logging.getLogger(__name__)

NAME = "sweep"
"""Name of the study in its storage."""


class Judge(Protocol):
    """Takes the number of a validation and its AUROC, and returns whether the trial ends here."""

    def __call__(self, number: int, auroc: float) -> bool:
        """Judge a trial after a validation."""
        ...


_TRIAL, _REPEAT = "trial", "repeat"
_DRAWS = 200
"""Number of repeated proposals after which the search in a finite space gives up."""


def require_optuna() -> Any:
    """Return the module ``optuna``.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import optuna  # Imported on use: it is an extra, and slow to import.
    except ImportError as error:
        raise missing_extra("sweep needs Optuna", "tune", error) from None
    return optuna


class PrunerJudge:
    """Judges one trial with an Optuna pruner, see ``Judge``.

    Args:
        optuna: the imported module.
        study: study in memory with the trials that have ended.
    """

    def __init__(self, optuna: Any, study: Any) -> None:
        self._optuna, self._study = optuna, study
        self._trial = study.ask()

    def __call__(self, number: int, auroc: float) -> bool:
        """Judge the trial after a validation."""
        with quiet_optuna(self._optuna):
            self._trial.report(auroc, number)
            return bool(self._trial.should_prune())

    @property
    def noted(self) -> dict[str, Any]:
        """What the pruner has noted about the trial, for judging later ones."""
        return dict(self._study.get_trials(deepcopy=False)[-1].system_attrs)


class Study:
    """Finished trials of a sweep.

    Args:
        path: Optuna's journal file; created if it is missing. The caller holds the lock of its folder.
        space: search space of the sweep.
        settings: sampler, pruner, seed and number of validations.

    Raises:
        ConfigurationError: Optuna is not installed.
        DataFormatError: the file is not a sweep's journal.
    """

    def __init__(self, path: Path, space: Space, settings: SweepSettings) -> None:
        self._optuna = require_optuna()
        self._path, self._space, self._settings = path, space, settings
        self._distributions = {name: self._distribution(entry) for name, entry in space.entries.items()}
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # A killed run may have left it.
        _check_lines(path)
        with quiet_optuna(self._optuna):
            storages = self._optuna.storages
            try:
                storage = storages.JournalStorage(storages.journal.JournalFileBackend(str(path)))
                is_new = not storage.get_all_studies()
                make = partial(self._optuna.create_study, direction="maximize") if is_new else self._optuna.load_study
                self._study = make(study_name=NAME, storage=storage)
                stored = self._study.get_trials(deepcopy=False)
                repeats = dict(self._study.user_attrs)
            except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
                raise _not_ours(path) from error
        self.trials = [Trial.from_dict(one.user_attrs.get(_TRIAL), str(path)) for one in stored]
        self._repeats = {
            name: Trial.from_dict(value, str(path)) for name, value in repeats.items() if name.startswith(_REPEAT)
        }

    def add(self, trial: Trial) -> None:
        """Store a finished trial."""
        with quiet_optuna(self._optuna):
            self._study.add_trial(self._frozen(trial))
        self.trials.append(trial)

    def repeat(self, values: Mapping[str, Any], seed: int) -> Trial | None:
        """Return the training run with these settings and another seed, if it was finished before."""
        return self._repeats.get(_repeat_name(values, seed))

    def add_repeat(self, trial: Trial) -> None:
        """Store a finished training run with another seed."""
        name = _repeat_name(trial.values, trial.seed)
        with quiet_optuna(self._optuna):
            self._study.set_user_attr(name, trial.to_dict())
        self._repeats[name] = trial

    def propose(self) -> dict[str, Any] | None:
        """Return the settings of the next trial; None if the space has no more combinations."""
        tried = [dict(trial.values) for trial in self.trials]
        if self._settings.sampler == "grid":
            return next((values for values in self._space.grid() if values not in tried), None)
        size = self._space.size()
        if size is not None and sum(map(self._space.contains, tried)) >= size:
            return None
        values: dict[str, Any] = {}
        for draw in range(_DRAWS):
            values = self._asked(draw)
            if values not in tried:
                return values
        return None if size is not None else values

    def judge(self) -> PrunerJudge:
        """Return a judge that decides whether the next trial is pruned, based on the finished ones."""
        optuna = self._optuna
        with quiet_optuna(self._optuna):
            scratch = optuna.create_study(direction="maximize", study_name=NAME, pruner=self._pruner())
            scratch.add_trials([self._frozen(trial) for trial in self.trials])
            return PrunerJudge(optuna, scratch)

    def _asked(self, draw: int) -> dict[str, Any]:
        """Ask a sampler that is made only for this draw."""
        optuna, samplers = self._optuna, self._optuna.samplers
        seed = Random(f"{self._settings.seed} {len(self.trials)} {draw}").getrandbits(32)
        # If proposals keep repeating earlier trials, settings are drawn at random.
        by_chance = self._settings.sampler == "random" or draw > _DRAWS // 10
        with quiet_optuna(self._optuna):
            sampler = (
                samplers.RandomSampler(seed)
                if by_chance
                else samplers.TPESampler(seed=seed, multivariate=True, group=True)
            )
            scratch = optuna.create_study(direction="maximize", study_name=NAME, sampler=sampler, pruner=self._pruner())
            # With a trial without parameters, as the one of the given settings may be, the sampler would find none in
            # common.
            scratch.add_trials([self._frozen(trial) for trial in self.trials if self._space.contains(trial.values)])
            asked = scratch.ask()
            values: dict[str, Any] = {}
            for name, entry in self._space.entries.items():
                if self._space.varies(name, values):
                    values[name] = self._suggested(asked, name, entry)
        return values

    def _pruner(self) -> Any:
        pruners, steps = self._optuna.pruners, self._settings.validations
        if self._settings.pruner == "none" or steps < 2:
            return pruners.NopPruner()
        if self._settings.pruner == "median":
            # The first validation comes after too few rows to decide.
            return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
        return pruners.HyperbandPruner(min_resource=1, max_resource=steps, reduction_factor=3)

    def _suggested(self, asked: Any, name: str, entry: Entry) -> Any:
        if isinstance(entry, Choices):
            return entry.option(asked.suggest_categorical(name, _categories(entry)))
        if entry.whole:
            return asked.suggest_int(name, int(entry.low), entry.highest(), log=entry.log, step=int(entry.step or 1))
        number = asked.suggest_float(name, entry.low, entry.highest(), log=entry.log, step=entry.step)
        # Training, storage and output all use these six significant digits.
        return min(max(float(f"{number:.6g}"), entry.low), entry.high)

    def _distribution(self, entry: Entry) -> Any:
        distributions = self._optuna.distributions
        if isinstance(entry, Choices):
            return distributions.CategoricalDistribution(_categories(entry))
        if entry.whole:
            return distributions.IntDistribution(
                int(entry.low), entry.highest(), log=entry.log, step=int(entry.step or 1)
            )
        return distributions.FloatDistribution(entry.low, entry.highest(), log=entry.log, step=entry.step)

    def _frozen(self, trial: Trial) -> Any:
        """Return a trial in Optuna's form; one outside the space has no parameters."""
        state = self._optuna.trial.TrialState
        inside = self._space.contains(trial.values)
        names = list(trial.values) if inside else []
        entries = self._space.entries
        return self._optuna.create_trial(
            state={"complete": state.COMPLETE, "pruned": state.PRUNED, "failed": state.FAIL}[trial.state],
            value=None if trial.state == "failed" else trial.auroc,
            params={name: _parameter(entries[name], trial.values[name]) for name in names},
            distributions={name: self._distributions[name] for name in names},
            intermediate_values=dict(trial.scores),
            user_attrs={_TRIAL: trial.to_dict()},
            system_attrs=dict(trial.noted),
        )


def _parameter(entry: Entry, value: Any) -> Any:
    """Return a value in Optuna's form."""
    return entry.category(value) if isinstance(entry, Choices) else value


def _categories(entry: Choices) -> list[Any]:
    return [entry.category(value) for value in entry.values()]


def _repeat_name(values: Mapping[str, Any], seed: int) -> str:
    return f"{_REPEAT} {seed} {sorted(values.items())!r}"


def _check_lines(path: Path) -> None:
    """Check that a journal has lines of JSON, and cut off a last one that a kill has left incomplete.

    Raises:
        DataFormatError: the file is something else.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    for line in whole.splitlines():
        if not isinstance(parse_json(line, str(path), DataFormatError, "Choose another --output."), dict):
            raise _not_ours(path)
    if len(whole) < len(content):
        log.warning("%s: the last line is incomplete, because the run was killed; it is removed", path)
        with path.open("r+b") as handle:
            handle.truncate(len(whole))


def _not_ours(path: Path) -> DataFormatError:
    return DataFormatError(f"{path}: is not the storage of a sweep. Choose another --output, or remove the file.")
