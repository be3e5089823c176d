"""The tuning loop: try recipes until one meets the criterion, or the time or the trials are used up."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError, DLRMError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.criterion import Criterion
from dlrm_pl.quantization.evaluation import EvalFunc, Scores, score_with
from dlrm_pl.quantization.post_training import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.strategies import strategy_named
from dlrm_pl.quantization.tables import TablePacker
from dlrm_pl.quantization.trial import Trial, TuningResult
from dlrm_pl.runtime.int8_dlrm import Int8DLRM

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningSettings:
    """How to search.

    Attributes:
        recipe: where the search begins.
        criterion: what is accepted.
        strategy: which recipe is tried next: ``basic``.
        timeout_s: 0 stops at the first recipe that is accepted. Otherwise the search goes on for so many seconds
            and the smallest accepted model wins. The time is looked at between trials.
        max_trials: at most so many recipes are tried.
        seed: of everything random in a trial.
    """

    recipe: RecipeStart = field(default_factory=RecipeStart)
    criterion: Criterion = field(default_factory=Criterion)
    strategy: str = "basic"
    timeout_s: float = 0.0
    max_trials: int = 100
    seed: int = 9527

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: an unknown strategy, a negative time, or no trials.
        """
        strategy_named(self.strategy)
        if self.timeout_s < 0:
            raise ConfigurationError(f"timeout_s={self.timeout_s} must be 0 (first that passes) or more.")
        if self.max_trials < 1:
            raise ConfigurationError(f"max_trials={self.max_trials} must be at least 1.")


def tune(
    model: DLRM,
    calibration: Iterable[ClickBatch],
    eval_func: EvalFunc,
    settings: TuningSettings,
    *,
    packer: TablePacker | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> TuningResult:
    """Search for an int8 model within tolerance.

    Args:
        model: float, in evaluation mode; not changed.
        calibration: re-iterable batches.
        eval_func: scores a model, higher is better; rows apart from the calibration rows.
        settings: how to search.
        packer: of the model's tables; one that keeps them in memory when None.
        on_trial: called after each trial.

    Returns:
        The best model, accepted or not, with all trials. Among accepted trials the smallest is best, then the
        highest score; among rejected ones the highest score.

    Raises:
        DLRMError: the float model cannot be scored, or every trial failed; the last reason is given.
    """
    baseline = score_with(eval_func, model)
    log.info("fp32 scores %.6f, tolerated loss %.6f", baseline.value, settings.criterion.tolerance(baseline.value))
    packer = table_packer(model) if packer is None else packer
    start = Recipe.starting_from(settings.recipe, model.architecture)
    proposals = strategy_named(settings.strategy)(start)
    trials: list[Trial] = []
    tried: dict[Recipe, Trial] = {}
    best: tuple[Trial, Int8DLRM] | None = None
    began = time.perf_counter()
    stopped_because = f"the strategy {settings.strategy} has nothing more to propose"
    recipe = next(proposals)
    while True:
        if recipe not in tried:
            # Each trial starts from the same state, so that its outcome does not depend on those before it.
            _seed_everything(settings.seed)
            trial, candidate = _try(
                len(trials) + 1, recipe, model, calibration, eval_func, baseline, settings.criterion, packer
            )
            tried[recipe] = trial
            trials.append(trial)
            log.info("%s", trial.describe())
            if on_trial is not None:
                on_trial(trial)
            if candidate is not None and (best is None or _rank(trial) > _rank(best[0])):
                best = (trial, candidate)
        if trials[-1].accepted and not settings.timeout_s:
            stopped_because = "a recipe met the criterion"
            break
        verdict = trials[-1].verdict
        if verdict is not None and math.isinf(verdict.bound):
            stopped_because = "no recipe can be judged on so few clicks; with `confidence: null` the loss itself is"
            break
        if settings.timeout_s and time.perf_counter() - began >= settings.timeout_s:
            stopped_because = f"the time of {settings.timeout_s:g} s is used up"
            break
        if len(trials) >= settings.max_trials:
            stopped_because = f"max_trials={settings.max_trials} recipes were tried"
            break
        try:
            recipe = proposals.send(tried[recipe])
        except StopIteration:
            break
    if best is None:
        raise DLRMError(f"All {len(trials)} trials failed, the last because: {trials[-1].error}")
    return TuningResult(
        baseline=baseline, trials=tuple(trials), best=best[0], model=best[1], stopped_because=stopped_because
    )


def _try(
    number: int,
    recipe: Recipe,
    model: DLRM,
    calibration: Iterable[ClickBatch],
    eval_func: EvalFunc,
    baseline: Scores,
    criterion: Criterion,
    packer: TablePacker,
) -> tuple[Trial, Int8DLRM | None]:
    """One trial; an error of ours fails the trial and not the search."""
    began = time.perf_counter()
    try:
        candidate = quantize(model, recipe, calibration, packer)
        scores = score_with(eval_func, candidate)
    except DLRMError as error:
        return Trial(number, recipe, None, None, 0, time.perf_counter() - began, 0.0, 0, str(error)), None
    return Trial(
        number=number,
        recipe=recipe,
        score=scores.value,
        verdict=criterion.judge(baseline, scores),
        model_bytes=candidate.model_bytes,
        seconds=time.perf_counter() - began,
        samples_per_s=scores.rows / scores.seconds if scores.seconds else 0.0,
        rows=scores.rows,
    ), candidate


def _rank(trial: Trial) -> tuple[bool, float, float]:
    """Accepted first; then small for accepted trials, high for rejected ones."""
    score = float("-inf") if trial.score is None else trial.score
    return trial.accepted, -float(trial.model_bytes) if trial.accepted else 0.0, score


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
