"""Find the ranges of the activations: run batches through a prepared model, once for all recipes of a search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.errors import CalibrationError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.prepare import prepare
from dlrm_pl.quantization.ptq.quantize_linear import Range
from dlrm_pl.quantization.recipe import Observer, Recipe

# That the sums of probabilities are compared on: their differences are small, so a few thousand rows give their mean.
_SAMPLE_ROWS = 8192


def calibrate(prepared: nn.Module, batches: Iterable[ClickBatch]) -> int:
    """Feed all batches, without gradients.

    Args:
        prepared: as ``prepare`` returns it; its observers are updated.
        batches: re-iterable, since every trial reads them again.

    Returns:
        Rows seen.

    Raises:
        CalibrationError: there was no row.
    """
    rows = 0
    with torch.no_grad():  # Not inference_mode: observers keep what they saw as buffers.
        for batch in batches:
            prepared(batch)
            rows += batch.num_samples
    if not rows:
        raise no_rows()
    return rows


def no_rows() -> CalibrationError:
    """There is nothing to calibrate with."""
    return CalibrationError(
        "Calibration got no rows, so no range of activations is known. Check calibration_rows and the val split."
    )


class ActivationRanges:
    """What observers saw of the activations of a float model; read once for each kind of observer, then kept.

    While it is calibrated a model computes in floats, whatever its Linears will be, so the ranges are the same for all
    recipes of a search. They are those of float tables as well: rounding a row to 8 bits moves the range of what comes
    of it by less than a step.

    Args:
        model: float; not changed.
        batches: re-iterable calibration rows.

    Raises:
        ConfigurationError: torch has no torch.ao; here, before a search begins.
    """

    def __init__(self, model: DLRM, batches: Iterable[ClickBatch]) -> None:
        from dlrm_pl.quantization.ptq import torch_ao

        self._observed_ranges = torch_ao.observed_ranges
        self._model = model
        self._batches = batches
        self._ranges: dict[Observer, dict[str, list[Range]]] = {}
        self._sample: tuple[ClickBatch, Tensor] | None = None

    def observed_by(self, observer: Observer) -> dict[str, list[Range]]:
        """Ranges of both MLPs' activations: of each MLP's input, then behind each of its Linears.

        Raises:
            CalibrationError: there was no row, or an activation that a histogram cannot hold.
        """
        if observer not in self._ranges:
            recipe = replace(Recipe.all_float(self._model.architecture, linears="int8"), observer=observer)
            prepared = prepare(self._model, recipe, self._model.embedding_bags)
            calibrate(prepared, self._batches)
            self._ranges[observer] = {
                part: self._observed_ranges(getattr(prepared, part)[0]) for part in ("bottom_mlp", "top_mlp")
            }
        return self._ranges[observer]

    def sample(self) -> tuple[ClickBatch, Tensor]:
        """Some of the calibration rows, and the float model's logits of them, float64 ``[B]``.

        Raises:
            CalibrationError: there was no row.
        """
        if self._sample is None:
            batch = next((batch for batch in self._batches if batch.num_samples), None)
            if batch is None:
                raise no_rows()
            batch = first_samples(batch, min(batch.num_samples, _SAMPLE_ROWS))
            with torch.inference_mode():
                self._sample = batch, self._model(batch).double()
        return self._sample
