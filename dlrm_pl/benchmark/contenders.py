"""Contenders of a benchmark: ways to serve a DLRM on a CPU, all built from one float model."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.comparison import INT8
from dlrm_pl.benchmark.compilation import Float, FloatForCompiler, compile_for
from dlrm_pl.benchmark.timer import Scorer
from dlrm_pl.benchmark.unavailable import missing_memory
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.quantization.ptq.eager import eager_int8_model
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.direct import DirectModel
from dlrm_pl.runtime.int8_dlrm import Int8DLRM

BASELINE = "fp32"


BF16_ROUNDING = torch.finfo(torch.bfloat16).eps / 2
"""Largest relative change of a number that is rounded to bfloat16."""


@dataclass(frozen=True)
class Contender:
    """One way to serve the model.

    Attributes:
        name: short name, the key of its results.
        label: name in tables and plots.
        model: module that gives the logits of a batch.
        compiled: whether the model is compiled, for each batch size and number of threads.
        min_sqnr_db: smallest allowed ratio, in dB, of the variance of the fp32 logits to the squared error; below it,
            the contender does not compute the same model.
        rounding: relative error of a logit that its dtype alone explains.
        is_own: whether it serves the artifact, or what was exported from it; all other contenders are rivals.
        may_differ: whether it is merely left out if it does not compute the same model; otherwise, that is an error.
    """

    name: str
    label: str
    model: nn.Module
    compiled: bool = False
    # Uniform 8-bit noise gives 50 dB in one layer; eight layers, small tables and outliers cost half of that. Unrelated
    # models give -3 dB.
    min_sqnr_db: float = 10.0
    rounding: float = 0.0
    is_own: bool = False
    may_differ: bool = False

    def prepare(self, batch: ClickBatch) -> Scorer:
        """Return the callable to time on batches of this size with the current number of threads.

        Raises:
            UnavailableError: it cannot be timed.
        """
        return compile_for(self.model, batch) if self.compiled else self.model


@dataclass(frozen=True)
class Contenders:
    """The contenders of a comparison, and those that cannot take part.

    Attributes:
        available: contenders that can be timed, in the order of the tables.
        unavailable: reason by label of each contender that cannot be timed.
    """

    available: tuple[Contender, ...]
    unavailable: dict[str, str]


def float_contenders(model: DLRM, calibration: Iterable[ClickBatch]) -> Contenders:
    """Make the float contenders, and int8 MLPs with torch.ao: fp32, bf16 and ``eager_int8``.

    Args:
        model: float32, in evaluation mode; its tables are referenced, and copied once for bf16.
        calibration: re-iterable batches for the observers of ``eager_int8``.
    """
    contenders = [
        Contender(BASELINE, "fp32 eager", model),
        Contender("fp32_compiled", "fp32 compiled", FloatForCompiler(model), compiled=True, min_sqnr_db=60),
    ]
    unavailable = {}
    missing = _missing_for_bfloat16(model)
    if missing:
        unavailable = {"bf16 eager": missing, "bf16 compiled": missing}
    else:
        half = as_bfloat16(model)
        contenders += [
            Contender("bf16", "bf16 eager", Float(half), min_sqnr_db=20, rounding=BF16_ROUNDING),
            _compiled_bfloat16(half),
        ]
    contenders.append(Contender("eager_int8", "int8 MLPs, eager", eager_int8(model, calibration)))
    return Contenders(tuple(contenders), unavailable)


def float_baselines(model: DLRM) -> Contenders:
    """Make the contenders that an int8 model must beat to be worth serving: eager fp32 and compiled bf16."""
    baseline = Contender(BASELINE, "fp32 eager", model)
    missing = _missing_for_bfloat16(model)
    if missing:
        return Contenders((baseline,), {"bf16 compiled": missing})
    return Contenders((baseline, _compiled_bfloat16(as_bfloat16(model))), {})


def int8_contender(model: Int8DLRM) -> Contender:
    """Make a contender from an artifact's model, or from one that ``quantize`` just made."""
    return _Int8(INT8, "int8", model, is_own=True)


@dataclass(frozen=True)
class _Int8(Contender):
    """An int8 model, called as ``Predictor`` and ``serve`` call it."""

    def prepare(self, batch: ClickBatch) -> Scorer:
        """Return the kernels' calls, prepared once, or the model itself if ``DirectModel`` does not support it."""
        del batch
        assert isinstance(self.model, Int8DLRM)
        direct = DirectModel.of(self.model)
        return self.model if direct is None else direct.logits


def as_bfloat16(model: DLRM) -> DLRM:
    """Copy a model to bfloat16 table by table, so that there is never a second fp32 copy."""
    architecture = model.architecture
    tables = EmbeddingBags((1,) * architecture.num_tables, architecture.embedding_dim, architecture.is_mean)
    for bag, weight in zip(tables.tables, _tables(model), strict=True):
        bag.weight = nn.Parameter(weight.detach().bfloat16(), requires_grad=False)
    bottom_mlp, top_mlp = (copy.deepcopy(mlp).bfloat16() for mlp in (model.bottom_mlp, model.top_mlp))
    cross_net = None if model.cross_net is None else copy.deepcopy(model.cross_net).bfloat16()
    return DLRM.from_parts(model.architecture, bottom_mlp, tables, top_mlp, cross_net).eval()


def eager_int8(model: DLRM, calibration: Iterable[ClickBatch]) -> DLRM:
    """Quantize as Intel's LPOT example did: int8 Linears by torch.ao in eager mode, fp32 tables and interaction."""
    start = RecipeStart(linears="int8", tables="fp32")
    recipe = Recipe.starting_from(start, model.architecture)
    return eager_int8_model(model, recipe, model.embedding_bags, calibration)


def _compiled_bfloat16(half: DLRM) -> Contender:
    return Contender(
        "bf16_compiled",
        "bf16 compiled",
        FloatForCompiler(half),
        compiled=True,
        min_sqnr_db=20,
        rounding=BF16_ROUNDING,
    )


def _missing_for_bfloat16(model: DLRM) -> str:
    """Return why a bf16 copy of the tables does not fit into memory; empty if it does."""
    return missing_memory("a bf16 copy of the tables", sum(table.numel() for table in _tables(model)) * 2)


def _tables(model: DLRM) -> list[torch.Tensor]:
    return list(model.embedding_bags.parameters())
