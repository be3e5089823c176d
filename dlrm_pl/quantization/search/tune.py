"""Tuning loop: try recipes until one is accepted, or the time, the trials or the strategy are used up."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import BaselineError, ConfigurationError, DLRMError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.failure import FAILURES, SLIPS, describe_failure
from dlrm_pl.quantization.judging.criterion import Verdict
from dlrm_pl.quantization.judging.evaluation import EvalFunc
from dlrm_pl.quantization.judging.judge import Judge
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import table_packer
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.objective import LatencyTimer, Objective
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SearchSpace
from dlrm_pl.quantization.search.start import first_recipe
from dlrm_pl.quantization.search.strategies import strategy_named
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.trials.trial_log import TrialLog
from dlrm_pl.runtime.int8_dlrm import Int8DLRM, fp32_bytes

__all__ = ["TuningSettings", "tune"]

log = logging.getLogger(__name__)

TRIALS_LOGGER = f"{__name__}.trials"
"""Name of the logger that writes a line for each trial; a display that shows the trials itself turns it off."""


def tune(
    model: DLRM,
    calibration: Iterable[ClickBatch],
    eval_func: EvalFunc,
    settings: TuningSettings,
    *,
    start: Recipe | None = None,
    packer: TablePacker | None = None,
    trial_log: TrialLog | None = None,
    timer: LatencyTimer | None = None,
    listeners: Sequence[TuningListener] = (),
    columns: Columns | None = None,
) -> TuningResult:
    """Search for an int8 model within tolerance, without writing an artifact.

    Ctrl-C ends the search, which returns what was found so far; before the first finished trial, KeyboardInterrupt is
    raised.

    Args:
        model: float model in evaluation mode; not changed.
        calibration: re-iterable batches for the observers.
        eval_func: function that scores a model, on other rows than the calibration rows. With an ``AUROCEvaluation``
            trials stop as soon as their rows decide.
        settings: how to search.
        start: recipe to begin with, if the caller has made it; otherwise that of ``first_recipe``.
        packer: packer of the model's tables; without one, packed tables are kept in memory.
        trial_log: log with the finished trials of an earlier run, which are not repeated; without one, trials are kept
            in memory only.
        timer: measures the speed of accepted models; needed if the objective counts latency.
        listeners: objects that are notified of each event of the search.
        columns: columns of the rows, among which ``worst_slice`` finds its own by name; None if unknown.

    Returns:
        The best model, accepted or not, and all trials. The best accepted trial is the one with the lowest cost, then
        the smallest drop; if none is accepted, the best trial is the one with the smallest drop.

    Raises:
        ConfigurationError: the objective counts latency without a timer, or the space names ops of another model.
        BaselineError: the float model cannot be scored on some rows; the message names the first.
        DLRMError: the float model has no score, or every trial failed; the message gives the last reason.

    Example:
        >>> import torch
        >>> from dlrm_pl import DLRM, Architecture, ClickBatch, TuningSettings, tune
        >>> model = DLRM(Architecture(table_sizes=(9, 9), embedding_dim=2, bottom_mlp=(3, 2), top_mlp=(1,))).eval()
        >>> batch = ClickBatch(torch.rand(8, 3), torch.randint(9, (2, 8)), None, torch.zeros(8))
        >>> result = tune(model, [batch], lambda scored: 0.5, TuningSettings())
        >>> len(result.trials), result.accepted
        (1, True)
    """
    if Objective.named(settings.objective).latency and timer is None:
        raise ConfigurationError("objective 'latency' needs a timer. Pass timer= to tune().")
    judge = Judge(model, eval_func, settings.criterion, columns)
    baseline = judge.baseline()
    tolerance = settings.criterion.tolerance(baseline.value)
    rows = f" on the first {baseline.rows:,} rows" if judge.sequential else ""
    log.info("fp32 score%s: %.6f; tolerated drop: %.6f", rows, baseline.value, tolerance)
    for listener in listeners:
        listener.on_baseline(baseline, tolerance)
    space = SearchSpace(settings.space, model.architecture)

    def drop_of(quantized: nn.Module) -> float:
        seed_everything(settings.seed)  # As before each trial.
        return judge.drop(quantized)

    context = SearchContext(
        start=first_recipe(model, settings) if start is None else start,
        space=space,
        model=model,
        calibration=calibration,
        ranges=ActivationRanges(model, calibration),
        packer=table_packer(model) if packer is None else packer,
        criterion=settings.criterion,
        tolerance=tolerance,
        objective=Objective.named(settings.objective),
        rows=judge.rows,
        seed=settings.seed,
        max_trials=settings.max_trials,
        drop_of=None if judge.paired else drop_of,
        log=TrialLog() if trial_log is None else trial_log,
    )
    return _Search(context, judge, settings, timer, listeners).run()


class _Search:
    """State of one search."""

    def __init__(
        self,
        context: SearchContext,
        judge: Judge,
        settings: TuningSettings,
        timer: LatencyTimer | None,
        listeners: Sequence[TuningListener],
    ) -> None:
        self._context = context
        self._judge = judge
        self._settings = settings
        self._timer = timer
        self._listeners = listeners
        self._tried: dict[Recipe, Trial] = {}
        self._best: tuple[Trial, Int8DLRM | None] | None = None
        self._fp32_bytes = fp32_bytes(context.model)
        self._elapsed_s = 0.0
        self._elapsed_at = time.perf_counter()

    def run(self) -> TuningResult:
        """Try the recipes that the strategy proposes until there is a reason to stop."""
        interrupted = False
        try:
            stopped_because = self._follow_the_strategy()
        except KeyboardInterrupt:
            if self._best is None:
                raise
            interrupted = True
            stopped_because = "it was interrupted"
            log.warning(
                "interrupted: continuing with the best of the %d trials so far; press ctrl-C again to stop now",
                len(self._tried),
            )
        trials = tuple(self._tried.values())
        best = None if self._best is None else self._best[0]
        for listener in self._listeners:
            listener.on_stop(best, stopped_because)
        if self._best is None:
            raise DLRMError(f"All {len(trials)} trials failed. The last one: {trials[-1].error}")
        trial, model = self._best
        if model is None:  # The trial comes from the log of an earlier run.
            seed_everything(self._settings.seed)
            model = self._context.quantize(trial.recipe)
        return TuningResult(
            baseline=self._judge.baseline(),
            trials=trials,
            best=trial,
            model=model,
            stopped_because=stopped_because,
            interrupted=interrupted,
        )

    def _follow_the_strategy(self) -> str:
        """Try the proposed recipes, and return why the search stopped."""
        name = self._settings.strategy
        proposals = strategy_named(name)(self._context)
        last: Trial | None = None
        try:
            while True:
                try:
                    recipe = next(proposals) if last is None else proposals.send(last)
                except SLIPS as error:  # From the strategy's own measurements; trials handle their own errors.
                    reason = f"the strategy {name} could not continue: {describe_failure(error)}"
                    if last is None:
                        raise DLRMError(f"No recipe was tried, because {reason}") from error
                    log.warning("%s", reason)
                    return reason
                if recipe not in self._tried:
                    trial = self._trial(recipe)
                    stop = self._reason_to_stop(trial)
                    if stop is not None:
                        return stop
                last = self._tried[recipe]
        except StopIteration:
            if not self._tried:
                raise ConfigurationError(
                    f"The strategy {name} proposed no recipe: the search space is empty."
                ) from None
            return f"the strategy {name} has no more recipes to propose"
        finally:
            proposals.close()

    def _trial(self, recipe: Recipe) -> Trial:
        """Try a recipe, or take its trial from the log of an earlier run."""
        number = len(self._tried) + 1
        known = self._context.log.find(recipe)
        candidate = None
        if known is not None:
            trial = replace(known, number=number, elapsed_s=max(known.elapsed_s, self._elapsed_s))
        else:
            for listener in self._listeners:
                listener.on_trial_start(number, recipe)
            trial, candidate = self._try(number, recipe)
            trial = replace(trial, elapsed_s=self._elapsed_s + time.perf_counter() - self._elapsed_at)
        self._elapsed_s = trial.elapsed_s
        self._elapsed_at = time.perf_counter()
        # Set before the trial is logged, so that ctrl-C during the write does not lose a trial that is in the log.
        self._tried[recipe] = trial
        if trial.verdict is not None and (self._best is None or _rank(trial) > _rank(self._best[0])):
            self._best = (trial, candidate)
        if known is None:
            self._context.log.add(trial)
        logging.getLogger(TRIALS_LOGGER).info("%s%s", "from the log: " if known else "", trial.describe())
        for listener in self._listeners:
            listener.on_trial_end(trial, resumed=known is not None)
        return trial

    def _try(self, number: int, recipe: Recipe) -> tuple[Trial, Int8DLRM | None]:
        """Try a recipe; an error of the package, of arithmetic, or of the user's score fails this trial only.

        Raises:
            BaselineError: the float model failed, and every other trial would be compared with it as well.
        """

        def on_look(verdict: Verdict) -> None:
            for listener in self._listeners:
                listener.on_look(number, verdict)

        # Each trial starts from the same state, so that its outcome does not depend on those before it.
        seed_everything(self._settings.seed)
        began = time.perf_counter()
        try:
            candidate = self._context.quantize(recipe)
            judgement = self._judge.judge(candidate, on_look)
            latency = None
            if judgement.verdict.accepted and self._context.objective.latency:
                assert self._timer is not None  # Checked before the search.
                latency = self._timer(candidate)
        except BaselineError:
            raise
        except FAILURES as error:
            reason = describe_failure(error)
            return Trial(number, recipe, None, None, 0, time.perf_counter() - began, 0.0, 0, reason), None
        verdict, speed = judgement.verdict, judgement.samples_per_s
        if latency is not None:
            speed = latency.samples_per_s
            if latency.slower_than is not None:
                verdict = replace(verdict, accepted=False, reason=f"{verdict.reason}; but {latency.slower_than}")
        return Trial(
            number=number,
            recipe=recipe,
            score=verdict.score,
            verdict=verdict,
            model_bytes=candidate.model_bytes,
            seconds=time.perf_counter() - began,
            samples_per_s=speed,
            rows=verdict.rows,
            cost=self._context.objective.cost(candidate.model_bytes / self._fp32_bytes, latency),
            latency=latency,
        ), candidate

    def _reason_to_stop(self, trial: Trial) -> str | None:
        settings = self._settings
        if trial.accepted and settings.stops_at_first:
            return "a recipe was accepted"
        if trial.verdict is not None and math.isinf(trial.verdict.bound):
            return "there are too few clicks to bound the AUROC drop; set confidence: null to compare point estimates"
        # Use the trial's own clock, so that a resumed search stops after the same trial as before.
        if settings.timeout_s and trial.elapsed_s >= settings.timeout_s:
            return f"timeout_s={settings.timeout_s:g} seconds have passed"
        if len(self._tried) >= settings.max_trials:
            return f"max_trials={settings.max_trials} recipes were tried"
        return None


def _rank(trial: Trial) -> tuple[bool, float, float]:
    """Sort key: accepted trials above rejected ones; then the cost of accepted trials; then the drop."""
    cost = math.inf if trial.cost is None else trial.cost
    return trial.accepted, -cost if trial.accepted else 0.0, -trial.drop


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python, NumPy and torch, as before every trial."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
