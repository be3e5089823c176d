"""What a strategy is given: the start, the choices, the model, and cheap ways to measure."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.calibration import ActivationRanges
from dlrm_pl.quantization.criterion import Criterion
from dlrm_pl.quantization.objective import Objective
from dlrm_pl.quantization.post_training import quantize
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.sensitivity import Change, Sensitivity, measure_sensitivities
from dlrm_pl.quantization.sizes import recipe_bytes
from dlrm_pl.quantization.space import SearchSpace
from dlrm_pl.quantization.tables import TablePacker
from dlrm_pl.quantization.trial import Trial
from dlrm_pl.quantization.trial_log import TrialLog
from dlrm_pl.quantization.tuning_rows import TuningRows
from dlrm_pl.runtime.int8_dlrm import Int8DLRM


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
        rows: the tuning rows with the fp32 probabilities; None where an ``eval_func`` of the user's reads for itself.
        seed: of everything random.
        max_trials: how many recipes are tried at most.
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
                "The losses of single ops are measured as AUROC on the tuning rows, but this search has an eval_func. "
                "Choose another strategy, or leave the eval_func out."
            )
        measured = self.remembered(
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

    def bytes_of(self, recipe: Recipe) -> int:
        """Bytes of weights and tables of a recipe's model, without making it."""
        return recipe_bytes(recipe, self.model.architecture)

    def random(self) -> random.Random:
        """Seeded, a new one each time."""
        return random.Random(self.seed)

    def remembered(self, name: str, measure: Callable[[], Any]) -> Any:
        """What ``measure`` returns (plain JSON types), measured once and kept for a resumed search."""
        return self.log.remembered(name, measure)


Strategy = Callable[[SearchContext], Generator[Recipe, Trial, None]]
"""A generator function: it yields a recipe to try, is sent the ``Trial`` that came of it, and returns when it has
nothing more to propose. A recipe that it yields again is answered with the same trial, and costs nothing."""
