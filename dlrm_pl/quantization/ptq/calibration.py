"""Calibration: find activation ranges on batches of rows, once for all recipes of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.errors import CalibrationError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.prepare import prepare, prepared_chains
from dlrm_pl.quantization.ptq.quantize_linear import Range
from dlrm_pl.quantization.ptq.trained import TrainedQuantization
from dlrm_pl.quantization.recipe import Observer, Recipe

# Rows on which the sums of probabilities are compared. The differences are small, so their mean is known from a few
# thousand rows.
_SAMPLE_ROWS = 8192


def calibrate(
    prepared: nn.Module, batches: Iterable[ClickBatch], seen: Callable[[ClickBatch, Tensor], None] | None = None
) -> int:
    """Run batches through a model's observers, without gradients.

    Args:
        prepared: model as ``prepare`` returns it; its observers are updated.
        batches: calibration rows.
        seen: called with each batch and the model's logits for it.

    Returns:
        Number of rows.

    Raises:
        CalibrationError: the batches hold no rows, or an observer that needs finite values gets others.
    """
    rows = 0
    with torch.no_grad():  # Not inference_mode: observers keep what they saw as buffers.
        for batch in batches:
            logits = prepared(batch)
            rows += batch.num_samples
            if seen is not None:
                seen(batch, logits)
    if not rows:
        raise no_rows()
    return rows


def no_rows() -> CalibrationError:
    """Make the error for calibration without rows."""
    return CalibrationError(
        "Calibration got no rows, so no activation ranges are known. Check calibration_rows and the val split."
    )


class ActivationRanges:
    """Activation ranges of a float model on the calibration rows, found once for each kind of observer.

    A model computes in floats while it is calibrated, whatever dtypes its Linears will have, so all recipes of a search
    share the ranges. The tables are floats as well: rounding the rows to 8 bits moves a range by less than a step.

    A model trained with a quantization keeps its ranges from training; only observers other than the one it was trained
    with read the calibration rows.

    Args:
        model: float model; not changed.
        batches: re-iterable calibration rows.

    Raises:
        CheckpointError: the model's trained quantization does not fit it.
        ConfigurationError: torch has no torch.ao; raised here, before a search begins.
    """

    def __init__(self, model: DLRM, batches: Iterable[ClickBatch]) -> None:
        from dlrm_pl.quantization.ptq import torch_ao

        self._observed_ranges = torch_ao.observed_ranges
        self._model = model
        self._batches = batches
        self._ranges: dict[Observer, Mapping[str, Sequence[Range]]] = {}
        trained = TrainedQuantization.of(model)
        if trained is not None and trained.ranges:
            self._ranges[trained.recipe.observer] = trained.ranges
        self._sample: tuple[ClickBatch, Tensor] | None = None

    def observed_by(self, observer: Observer) -> Mapping[str, Sequence[Range]]:
        """Return activation ranges by name in ``Recipe.chains``: at its input, then after each of its Linears.

        Raises:
            CalibrationError: there are no calibration rows, or a histogram gets a value that is not finite.
        """
        if observer not in self._ranges:
            recipe = replace(Recipe.all_float(self._model.architecture, linears="int8"), observer=observer)
            prepared = prepare(self._model, recipe, self._model.embedding_bags)
            device = next(self._model.parameters()).device
            chains = prepared_chains(prepared)
            for chain in chains.values():
                chain.to(device)  # The observer of a segment's input is created on the CPU.
            calibrate(prepared, self._batches, self._seen)
            self._ranges[observer] = {part: self._observed_ranges(chain[0]) for part, chain in chains.items()}
        return self._ranges[observer]

    def _seen(self, batch: ClickBatch, logits: Tensor) -> None:
        """Keep the first batch as the sample: a model with observers has the logits of the float model, to the bit."""
        if self._sample is None and 0 < batch.num_samples <= _SAMPLE_ROWS:
            self._sample = batch, logits.double()

    def sample(self) -> tuple[ClickBatch, Tensor]:
        """Return some of the calibration rows, and the float model's logits for them, float64 ``[B]``.

        Raises:
            CalibrationError: there are no calibration rows.
        """
        if self._sample is None:
            batch = next((batch for batch in self._batches if batch.num_samples), None)
            if batch is None:
                raise no_rows()
            batch = first_samples(batch, min(batch.num_samples, _SAMPLE_ROWS))
            with torch.inference_mode():
                self._sample = batch, self._model(batch).double()
        return self._sample
