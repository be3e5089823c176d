"""Quantize with a given recipe: nothing has to be chosen, so nothing is scored on the tuning rows."""

from __future__ import annotations

import time
from collections.abc import Iterable

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import DLRMError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.failure import FAILURES, describe_failure
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import quantize
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.objective import Objective
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.tune import seed_everything
from dlrm_pl.runtime.int8_dlrm import fp32_bytes


def keep_recipe(
    model: DLRM,
    calibration: Iterable[ClickBatch],
    settings: TuningSettings,
    recipe: Recipe,
    packer: TablePacker,
    *,
    because: str,
) -> TuningResult:
    """Quantize a model with a recipe, as a trial of ``tune`` does, and leave the verdict to the certification.

    A search chooses among recipes on the tuning rows, and the best of many looks better than it is on the rows by which
    it was chosen. With a single recipe, the certification alone decides. Its bounds hold at its confidence because
    neither the training nor a choice has seen its rows.

    Args:
        model: float model in evaluation mode; not changed.
        calibration: re-iterable batches for the observers.
        settings: settings, of which the seed, the criterion and the objective are used.
        recipe: the recipe.
        packer: packer of the model's tables.
        because: the reason why the recipe was not scored.

    Returns:
        The model, with a single trial that has no verdict.

    Raises:
        ConfigurationError: the criterion contradicts AUROC.
        DLRMError: the recipe cannot be applied to the model.
    """
    settings.criterion.check_auroc()
    seed_everything(settings.seed)
    began = time.perf_counter()
    try:
        quantized = quantize(model, recipe, ActivationRanges(model, calibration), packer)
    except FAILURES as error:
        raise DLRMError(
            f"The model cannot be quantized with the recipe that was kept: {describe_failure(error)}"
        ) from error
    seconds = time.perf_counter() - began
    cost = Objective.named(settings.objective).cost(quantized.model_bytes / fp32_bytes(model), None)
    trial = Trial(
        number=1,
        recipe=recipe,
        score=None,
        verdict=None,
        model_bytes=quantized.model_bytes,
        seconds=seconds,
        samples_per_s=0.0,
        rows=0,
        cost=cost,
        elapsed_s=seconds,
        unscored=because,
    )
    return TuningResult(baseline=None, trials=(trial,), best=trial, model=quantized, stopped_because=because)
