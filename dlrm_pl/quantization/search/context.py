"""Resources of a strategy: the start, the space, the model, and measurements that cost less than a trial."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.failure import FAILURES, describe_failure
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.tuning_rows import TuningRows
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import quantize
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.recipe_bytes import recipe_bytes
from dlrm_pl.quantization.search.objective import Objective
from dlrm_pl.quantization.search.space import SearchSpace
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.trials.trial_log import TrialLog
from dlrm_pl.quantization.sensitivity.auroc_drop import Change, Sensitivity, measure_sensitivities
from dlrm_pl.runtime.int8_dlrm import Int8DLRM

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchContext:
    """Everything that a strategy may base decisions on, besides the trials that it is sent.

    A strategy must not depend on the clock, so that a resumed search, which sends it the finished trials from the log,
    tries the same recipes again.

    Attributes:
        start: recipe of the settings, which most strategies try first.
        space: dtypes that each op may have, and the variants of observers.
        model: float model; must not be changed.
        calibration: re-iterable batches for the observers.
        ranges: ranges of the activations on those batches, read once for all recipes.
        packer: packer of the model's tables.
        criterion: acceptance rule.
        tolerance: tolerated drop from the baseline, in units of the score.
        objective: what to minimize.
        rows: tuning rows with the fp32 logits; None if a user's ``eval_func`` reads its own rows.
        seed: random seed of the search.
        max_trials: maximum number of recipes to try.
        drop_of: function that measures how much worse than fp32 a model scores on all rows, if the score is a metric or
            a user's ``eval_func``; None for AUROC, whose drops ``sensitivities`` measures in one pass.
        log: log that keeps the measurements, see ``cached``.
    """

    start: Recipe
    space: SearchSpace
    model: DLRM
    calibration: Iterable[ClickBatch]
    ranges: ActivationRanges
    packer: TablePacker
    criterion: Criterion
    tolerance: float
    objective: Objective
    rows: TuningRows | None
    seed: int
    max_trials: int
    drop_of: Callable[[nn.Module], float] | None = None
    log: TrialLog = field(default_factory=TrialLog)

    def quantize(self, recipe: Recipe) -> Int8DLRM:
        """Quantize the model with a recipe, as a trial does."""
        return quantize(self.model, recipe, self.ranges, self.packer)

    def sensitivities(self, changes: Sequence[Change], max_rows: int) -> list[Sensitivity]:
        """Measure the AUROC drop of each change alone, in one pass over the first rows; kept for a resumed search.

        Raises:
            ConfigurationError: the search has a user's ``eval_func``, which reads its own rows.
        """
        rows = self.rows
        if rows is None:
            raise ConfigurationError(
                "The AUROC drops of single ops are measured on the tuning rows, but this search's eval_func reads "
                "its own rows. Choose another strategy, or remove the eval_func."
            )
        measured = self.cached(
            f"sensitivities of {len(changes)} changes on {max_rows} rows",
            lambda: [
                sensitivity.to_dict()
                for sensitivity in measure_sensitivities(
                    self.model,
                    rows,
                    changes,
                    max_rows=max_rows,
                    recipe=self.start,
                    ranges=self.ranges,
                    packer=self.packer,
                )
            ],
        )
        return [Sensitivity(**values) for values in measured]

    def scored_drops(self, changes: Sequence[Change]) -> dict[Change, float]:
        """Measure the drop of a user's own score for each change alone, with one evaluation each.

        Each drop is kept for a resumed search as soon as it is measured.

        Returns:
            Drop in units of the score by change; infinity for a change whose model cannot be scored.
        """
        assert self.drop_of is not None
        known = self.log.notes
        names = {(op, dtype): f"drop of the score by {op} {dtype} alone" for op, dtype in changes}
        missing = sum(name not in known for name in names.values())
        if missing:
            log.info(
                "custom score: measuring the sensitivity of each op takes %d full evaluations before the first trial",
                missing,
            )
        drops: dict[Change, float] = {}
        for number, (change, name) in enumerate(names.items(), 1):
            new = name not in known
            drop = self.cached(name, partial(self._scored_drop, self.start.alone(*change)))
            drops[change] = math.inf if drop is None else drop
            if new:
                measured = "failed" if drop is None else f"{drop:+.6g}"
                log.info("%d of %d: %s: %s", number, len(names), name, measured)
        self.cached(
            f"drops of the score by {len(changes)} changes",  # All drops in one note, for the report.
            lambda: [
                {"op": op, "dtype": dtype, "drop": drop} for (op, dtype), drop in drops.items() if math.isfinite(drop)
            ],
        )
        return drops

    def _scored_drop(self, recipe: Recipe) -> float | None:
        """Measure the drop of a recipe; None if its model cannot be scored, and a trial of it would fail."""
        assert self.drop_of is not None
        try:
            return self.drop_of(self.quantize(recipe))
        except FAILURES as error:
            log.warning("%s: %s", recipe.describe(), describe_failure(error))
            return None

    def bytes_of(self, recipe: Recipe) -> int:
        """Compute the bytes of weights and tables of a recipe's model without making it."""
        return recipe_bytes(recipe, self.model.architecture)

    def random(self) -> random.Random:
        """Make a random generator, seeded with the seed of the search."""
        return random.Random(self.seed)

    def cached(self, name: str, measure: Callable[[], Any]) -> Any:
        """Call ``measure`` once and keep what it returns, in plain JSON types, for a resumed search."""
        return self.log.cached(name, measure)


Strategy = Callable[[SearchContext], Generator[Recipe, Trial, None]]
"""A generator function that yields a recipe to try, is sent its ``Trial``, and returns when it has no more recipes to
propose. For a recipe that was tried before, it is sent the same trial again, at no cost."""
