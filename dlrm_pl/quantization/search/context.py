"""What a strategy is given: the start, the choices, the model, and cheap ways to measure."""

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
from dlrm_pl.quantization.search.trial import Trial
from dlrm_pl.quantization.search.trial_log import TrialLog
from dlrm_pl.quantization.sensitivity.auroc_drop import Change, Sensitivity, measure_sensitivities
from dlrm_pl.runtime.int8_dlrm import Int8DLRM

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchContext:
    """What a strategy may look at.

    It must decide by this and by the trials it is sent alone, never by the clock: then a resumed search, whose
    finished trials are sent from the log, goes the same way.

    Attributes:
        start: the recipe of the settings, the first to be tried by most strategies.
        space: what each op may be, and the variants of observers.
        model: float, not to be changed.
        calibration: re-iterable batches.
        ranges: of the activations on those batches, read once for all recipes.
        packer: of the model's tables.
        criterion: what is accepted.
        tolerance: in units of the score, from the baseline.
        objective: what is made small.
        rows: the tuning rows with the fp32 logits; None where an ``eval_func`` of the user's reads for itself.
        seed: of everything random.
        max_trials: how many recipes are tried at most.
        drop_of: how much worse than fp32 a model scores on all rows, where the score is a metric or an ``eval_func`` of
            the user's; None where it is AUROC, whose drops ``sensitivities`` measures in one pass.
        log: remembers what is measured, see ``remembered``.
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
        """The model of a recipe, as a trial would score it."""
        return quantize(self.model, recipe, self.ranges, self.packer)

    def sensitivities(self, changes: Sequence[Change], max_rows: int) -> list[Sensitivity]:
        """What each change alone costs, in one pass over the first rows; remembered for a resumed search.

        Raises:
            ConfigurationError: the search has an ``eval_func`` of the user's, which reads its rows itself.
        """
        rows = self.rows
        if rows is None:
            raise ConfigurationError(
                "The drops of single ops are measured as AUROC on the tuning rows, but this search has an eval_func. "
                "Choose another strategy, or leave the eval_func out."
            )
        measured = self.cached(
            f"sensitivities of {len(changes)} changes on {max_rows} rows",
            lambda: [
                found.to_dict()
                for found in measure_sensitivities(
                    *(self.model, rows, changes),
                    max_rows=max_rows,
                    recipe=self.start,
                    ranges=self.ranges,
                    packer=self.packer,
                )
            ],
        )
        return [Sensitivity(**values) for values in measured]

    def scored_drops(self, changes: Sequence[Change]) -> dict[Change, float]:
        """What each change alone costs in the user's own score, one scoring each; remembered one by one.

        Returns:
            In units of the score; infinity for a change whose model cannot be scored.
        """
        assert self.drop_of is not None
        known = self.log.notes
        names = {(op, dtype): f"drop of the score by {op} {dtype} alone" for op, dtype in changes}
        missing = sum(name not in known for name in names.values())
        if missing:
            log.info(
                "only AUROC's drops by op are measured in one pass: this score is taken of %d models with one op "
                "quantized alone, each on all rows, before the first trial",
                missing,
            )
        drops: dict[Change, float] = {}
        for number, (change, name) in enumerate(names.items(), 1):
            new = name not in known
            found = self.cached(name, partial(self._scored_drop, self.start.alone(*change)))
            drops[change] = math.inf if found is None else found
            if new:
                log.info("%d of %d: %s: %s", number, len(names), name, "none" if found is None else f"{found:+.6g}")
        self.cached(
            f"drops of the score by {len(changes)} changes",  # Together, for those who show them.
            lambda: [
                {"op": op, "dtype": dtype, "drop": drop} for (op, dtype), drop in drops.items() if math.isfinite(drop)
            ],
        )
        return drops

    def _scored_drop(self, recipe: Recipe) -> float | None:
        """None where the model cannot be scored, as a trial of it would have failed."""
        assert self.drop_of is not None
        try:
            return self.drop_of(self.quantize(recipe))
        except FAILURES as error:
            log.warning("%s: %s", recipe.describe(), describe_failure(error))
            return None

    def bytes_of(self, recipe: Recipe) -> int:
        """Bytes of weights and tables of a recipe's model, without making it."""
        return recipe_bytes(recipe, self.model.architecture)

    def random(self) -> random.Random:
        """Seeded, a new one each time."""
        return random.Random(self.seed)

    def cached(self, name: str, measure: Callable[[], Any]) -> Any:
        """What ``measure`` returns (plain JSON types), measured once and kept for a resumed search."""
        return self.log.cached(name, measure)


Strategy = Callable[[SearchContext], Generator[Recipe, Trial, None]]
"""A generator function: it yields a recipe to try, is sent the ``Trial`` that came of it, and returns when it has
nothing more to propose. A recipe that it yields again is answered with the same trial, and costs nothing."""
