"""Run batches through a prepared model so that its observers see the ranges of the activations."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import CalibrationError


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
        raise CalibrationError(
            "Calibration got no rows, so no range of activations is known. Check calibration_rows and the val split."
        )
    return rows
