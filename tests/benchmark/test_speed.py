"""Guards against slow int8 by a ratio within one run, since seconds depend more on the machine than on the code."""

from __future__ import annotations

import pytest
import torch

from dlrm_pl.benchmark.compare import compare
from dlrm_pl.benchmark.contenders import BASELINE, Contender, Contenders, int8_contender
from dlrm_pl.benchmark.rows import random_batch, random_rows
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart

# MLPerf's layers, with tables that fit into memory on any machine.
SHAPE = Architecture(
    table_sizes=(5000,) * 26, embedding_dim=128, bottom_mlp=(13, 512, 256, 128), top_mlp=(1024, 1024, 512, 256, 1)
)


# Minimum speedup over fp32 eager: about two thirds of the measured one, so that only a real regression fails.
LEAST_RATIO = {"amx_int8": 8.0, "avx512_vnni": 3.0, "avx_vnni": 2.0, "avx2": 1.0, "generic": 0.0, "fallback": 0.0}


@pytest.mark.slow
def test_int8_is_many_times_as_fast_as_fp32() -> None:
    torch.manual_seed(0)
    model = DLRM(SHAPE).eval()
    with torch.no_grad():
        for table in model.embedding_bags.parameters():
            table.mul_(20)  # As far from 0 as the dense vector, so that logits depend on the lookups.
    calibration = [random_batch(SHAPE, 2048, seed=1)]
    recipe = Recipe.starting_from(RecipeStart(), SHAPE)
    int8 = quantize(model, recipe, calibration, table_packer(model))
    contenders = Contenders((Contender(BASELINE, "fp32 eager", model), int8_contender(int8)), {})
    comparison = compare(contenders, random_rows(SHAPE), batch_sizes=(2048,), threads=(1,), seconds=3)
    ratio = comparison.cells[0].timings["int8"].ratio
    assert ratio > LEAST_RATIO[isa()], f"int8 is {ratio:.2f} times as fast as fp32, kernels: {isa()}"
