"""Quantization as in Intel's LPOT example: a model of torch.ao's own int8 modules, in eager mode."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.calibration import calibrate
from dlrm_pl.quantization.ptq.prepare import prepare
from dlrm_pl.quantization.recipe import Recipe


def eager_int8_model(model: DLRM, recipe: Recipe, tables: nn.Module, batches: Iterable[ClickBatch]) -> DLRM:
    """Insert stubs, fuse, calibrate and convert.

    Args:
        model: float model; not changed.
        recipe: dtypes of the Linears, observer, scheme and granularity.
        tables: module that replaces the embedding bags.
        batches: calibration rows.

    Returns:
        A DLRM whose int8 Linears are modules of ``torch.ao.nn.quantized``. It is slower than ``Int8DLRM``, and its last
        layer rounds to one of 256 logits; the benchmark compares with it.

    Raises:
        CalibrationError: there are no rows, or a range is not finite.
        ConfigurationError: the recipe has a different number of Linears than the model, or torch has no torch.ao.
    """
    from dlrm_pl.quantization.ptq import torch_ao

    prepared = prepare(model, recipe, tables)
    calibrate(prepared, batches)
    torch_ao.convert(prepared)
    return prepared
