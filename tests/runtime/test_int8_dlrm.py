"""The served model as a whole gives the same bits with every kernel, block size, thread count and process."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlrm_pl.errors import LookupIndexError, NonFiniteError, ShapeError
from dlrm_pl.kernels.int8.selection import available
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.recipe_bytes import recipe_bytes
from dlrm_pl.runtime import int8_dlrm
from dlrm_pl.runtime.cross_net import MixedCrossNet
from dlrm_pl.runtime.int8_dlrm import Int8DLRM, count_int8_ops
from tests.support import tiny
from tests.support.quantization.int8_models import lowered

# Wide enough for several blocks of every kernel, with enough tables for the path of 32 vectors.
WIDE = Architecture(table_sizes=(50,) * 26, embedding_dim=128, bottom_mlp=(13, 96, 128), top_mlp=(80, 40, 1))


@pytest.mark.parametrize("start", [{}, {"tables": "int4"}, {"tables": "fp16", "interaction": "int8"}])
def test_every_kernel_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, start: dict[str, object]) -> None:
    model, batch = lowered(WIDE, **start), tiny.batches(1, 300, seed=4, architecture=WIDE)[0]
    results = {}
    for name in available():
        monkeypatch.setenv("DLRM_PL_ISA", name)
        # Quantizing packs tables and weights with these kernels as well.
        results[name] = lowered(WIDE, **start)(batch)
        assert torch.equal(model(batch), results[name])
    assert len(results) >= 2
    for name, logits in results.items():
        assert torch.equal(logits, results["fallback"]), name


@pytest.mark.parametrize("rows", [2, 63, 64, 65, 200])
def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    model, batch = lowered(), tiny.batches(1, rows, seed=3)[0]
    whole = model(batch)
    monkeypatch.setattr(int8_dlrm, "BLOCK_ROWS", 64)
    assert torch.equal(model(batch), whole)
    assert count_int8_ops(model, batch) == model.expected_int8_ops()
    assert set(model.time_stages(batch)) == {"bottom MLP", "lookups and interaction", "top MLP"}


CROSSED = Architecture((50,) * 6, 32, (13, 24, 32), (40, 1), interaction="dcn", cross_layers=3, cross_rank=20)


@pytest.mark.parametrize("start", [{}, {"tables": "int4"}, {"tables": "fp32", "weight_granularity": "per_tensor"}])
def test_a_cross_network_gives_the_same_bits_in_one_op_and_layer_by_layer(
    monkeypatch: pytest.MonkeyPatch, start: dict[str, object]
) -> None:
    model = lowered(CROSSED, **start)
    by_layer = copy.copy(model)
    by_layer._cross = MixedCrossNet([*model.cross_net])  # type: ignore[list-item]
    monkeypatch.setattr(int8_dlrm, "CROSS_BLOCK_ROWS", 100)
    for batch in (tiny.batches(1, 450, 4, CROSSED)[0], tiny.bags(1, 450, 4, CROSSED)[0]):
        results = []
        for name in available():
            monkeypatch.setenv("DLRM_PL_ISA", name)
            results += [model(batch), by_layer(batch)]
        assert all(torch.equal(each, results[0]) for each in results)
        monkeypatch.delenv("DLRM_PL_ISA")
        assert count_int8_ops(model, batch) == model.expected_int8_ops() == count_int8_ops(by_layer, batch)
        assert set(model.time_stages(batch)) == {"bottom MLP", "lookups and interaction", "top MLP"}
    assert model.expected_int8_ops()["int8_linear"] == 2 + 6 + 2


@pytest.mark.parametrize("op", ["cross_net.0.v", "cross_net.2.w"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_a_cross_layer_that_falls_back_is_close_to_the_others(op: str, dtype: str) -> None:
    float_model, batch = tiny.model(0, CROSSED), tiny.bags(1, 450, 4, CROSSED)[0]
    recipe = Recipe.starting_from(RecipeStart(), CROSSED).with_dtype(op, dtype)
    model = quantize(float_model, recipe, tiny.bags(2, 64, architecture=CROSSED), table_packer(float_model))
    assert model.op_dtypes == recipe.ops
    assert model.model_bytes == recipe_bytes(recipe, CROSSED)
    with torch.no_grad():
        expected = float_model(batch)
    assert (model(batch) - expected).pow(2).mean() / expected.var() < 0.01  # 20 dB.
    assert count_int8_ops(model, batch) == model.expected_int8_ops()


def test_a_cross_network_in_floats_is_the_float_model() -> None:
    float_model, batch = tiny.model(0, CROSSED), tiny.bags(1, 450, 4, CROSSED)[0]
    recipe = Recipe.all_float(CROSSED)
    model = quantize(float_model, recipe, [], table_packer(float_model))
    with torch.no_grad():
        torch.testing.assert_close(model(batch), float_model(batch))
    with pytest.raises(ShapeError, match="A model with 3 cross layers needs V and W of each, but got 4 Linears"):
        Int8DLRM(CROSSED, model.bottom_mlp, model.tables, model.top_mlp, "fp32", [*model.cross_net][:4])  # type: ignore[arg-type, list-item]
    for dtype in ("int8", "bf16"):
        with pytest.raises(
            ShapeError, match=f"interaction {dtype} needs dot products, .*'dcn' does not have. Choose fp32"
        ):
            lowered(CROSSED, interaction=dtype)


@pytest.mark.parametrize("self_interaction", [False, True])
def test_cat_and_self_interaction(self_interaction: bool) -> None:
    changes = {"self_interaction": True} if self_interaction else {"interaction": "cat"}
    architecture = Architecture((9, 7), 8, (13, 8), (6, 1), **changes)  # type: ignore[arg-type]
    model, batch = lowered(architecture), tiny.batches(1, 400, seed=3, architecture=architecture)[0]
    assert model.interaction == ("int8" if self_interaction else "fp32")
    with torch.no_grad():
        expected = tiny.model(0, architecture)(batch)
    noise = (model(batch) - expected).pow(2).mean() / expected.var()
    assert noise < 0.03  # 15 dB; a wrong order of pairs or a lost vector gives less than 0 dB.


def test_int8_interaction_is_close_to_the_float_one_on_the_same_rows() -> None:
    """Only the dense vector has 8 bits of noise: the tables' rows are the same integers in both."""
    batch = tiny.batches(1, 500, seed=7, architecture=WIDE)[0]
    logits = {dtype: lowered(WIDE, interaction=dtype)(batch) for dtype in ("int8", "bf16", "fp32")}
    for dtype in ("int8", "bf16"):
        signal_to_noise = logits["fp32"].var() / (logits[dtype] - logits["fp32"]).pow(2).mean()
        assert 10 * signal_to_noise.log10() > 30, dtype


def test_cat_interaction_cannot_be_int8() -> None:
    with pytest.raises(ShapeError, match="'cat' multiplies nothing"):
        lowered(Architecture((9, 7), 8, (13, 8), (6, 1), interaction="cat"), interaction="int8")


@pytest.mark.parametrize(("tables", "dim"), [(65, 4), (2, 32_769)])
def test_int8_interaction_beyond_the_kernels_is_refused_when_it_is_made(tables: int, dim: int) -> None:
    with pytest.raises(ShapeError, match=f"up to 64 tables of up to 32,768 values, got {tables} of {dim:,}"):
        lowered(Architecture((3,) * tables, dim, (13, dim), (1,)), interaction="int8")


def test_a_model_of_wide_rows_gives_the_same_bits_with_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Architecture((30, 7, 20), 300, (13, 300), (6, 1))
    model, batch = lowered(wide, interaction="int8"), tiny.batches(1, 50, seed=3, architecture=wide)[0]
    logits = []
    for name in available():
        monkeypatch.setenv("DLRM_PL_ISA", name)
        logits.append(model(batch))
    assert all(torch.equal(each, logits[0]) for each in logits)


def test_bad_batches_are_named() -> None:
    model, batch = lowered(), tiny.batches(1, 6)[0]
    with pytest.raises(ShapeError, match="takes 13 dense features"):
        model(batch._replace(dense=batch.dense[:, :12]))
    with pytest.raises(ShapeError, match=r"indices of shape \[T, B\] = \[3, 6\], got \[2, 6\]"):
        model(batch._replace(indices=batch.indices[:2]))
    broken = batch.indices.clone()
    broken[2, 4] = 25
    with pytest.raises(LookupIndexError, match="sample 4: row 25 of table 2"):
        model(batch._replace(indices=broken))
    dense = batch.dense.clone()
    dense[3, 1] = float("inf")
    with pytest.raises(NonFiniteError, match="sample 3: feature 1"):
        model(batch._replace(dense=dense))


FORK = """
import os, sys, torch
from tests.support.quantization.int8_models import lowered
from tests.support import tiny
torch.set_num_threads(2)
model, batch = lowered(linears="bf16"), tiny.batches(1, 40_000)[0]
expected = model(batch)
child = os.fork()
if not child:
    os._exit(0 if torch.equal(model(batch), expected) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_that_was_forked_after_loading_scores_the_same() -> None:
    """torch's own float layers hang in such a child unless torch is told that its threads no longer exist."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", FORK], env=environment, timeout=250).returncode == 0
