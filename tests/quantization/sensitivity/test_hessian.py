"""Traces of blocks of the Hessian compared with torch's exact Hessian, and the damage computed from them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.sensitivity.hessian import DifferentiableOps, hessian_traces, hessian_weighted_errors
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny

# As small as a DLRM can be, so that its exact Hessian has few entries.
SHAPE = Architecture(table_sizes=(5, 3), embedding_dim=4, bottom_mlp=(3, 5, 4), top_mlp=(6, 1))
START = Recipe.starting_from(RecipeStart(), SHAPE)
NAMES = {
    "bottom_mlp.0": "bottom_mlp.0.weight",
    "bottom_mlp.1": "bottom_mlp.2.weight",
    "cross_net.0.v": "cross_net.0.v.weight",
    "cross_net.0.w": "cross_net.0.w.weight",
    "top_mlp.0": "top_mlp.0.weight",
    "top_mlp.1": "top_mlp.2.weight",
    "tables.0": "embedding_bags.tables.0.weight",
    "tables.1": "embedding_bags.tables.1.weight",
}


def large_model(architecture: Architecture = SHAPE) -> DLRM:
    """A model with weights so large that the logits depend on them."""
    model = tiny.model(3, architecture)
    with torch.no_grad():
        for table in model.embedding_bags.parameters():
            table.mul_(3)
    return model


def bags() -> ClickBatch:
    """Bags with several rows, with the same row twice, and empty ones."""
    rows = [[0, 0, 3], [1], [], [2, 4], [1], [1, 2], [0], [0]]
    lengths = torch.tensor([len(bag) for bag in rows])
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    dense = torch.rand(4, 3, generator=torch.Generator().manual_seed(2))
    return ClickBatch(
        dense, torch.tensor([row for bag in rows for row in bag]), offsets, torch.tensor([1.0, 0.0, 0.0, 1.0])
    )


def exact_trace(model: DLRM, op: str, batch: ClickBatch) -> float:
    """Sum second differences of the loss for each weight in double precision."""
    double = copy.deepcopy(model).double()
    batch = batch._replace(dense=batch.dense.double(), labels=batch.labels.double())
    parameter = dict(double.named_parameters())[NAMES[op]].detach().view(-1)

    def loss() -> float:
        return float(F.binary_cross_entropy_with_logits(double(batch), batch.labels))

    step, total, middle = 1e-4, 0.0, 0.0
    with torch.no_grad():
        middle = loss()
        for index in range(len(parameter)):
            value = float(parameter[index])
            sides = 0.0
            for shifted in (value - step, value + step):
                parameter[index] = shifted
                sides += loss()
            parameter[index] = value
            total += (sides - 2 * middle) / step**2
    return total


def damage(model: DLRM, recipe: Recipe, seed: int = 1, draws: int = 50) -> dict[str, float]:
    batches = tiny.batches(2, 40, architecture=SHAPE)
    packer = table_packer(model)
    return hessian_weighted_errors(
        model, recipe, lambda recipe: quantize(model, recipe, batches, packer), batches, seed=seed, draws=draws
    )


@pytest.mark.parametrize(
    "layout", ["one-hot", pytest.param("bags", marks=pytest.mark.slow), "averaged bags", "cross network"]
)
def test_traces_equal_second_differences(layout: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "averaged bags": {"pooling": ("mean", "sum")},
        "cross network": {"interaction": "dcn", "cross_layers": 1, "cross_rank": 2},
    }
    model = large_model(replace(SHAPE, **changes.get(layout, {})))
    batch = bags() if layout != "one-hot" else tiny.batches(1, 20, architecture=SHAPE)[0]
    draws = 800 if layout == "cross network" else 200  # Its traces are small sums of large terms.
    ops = [op for op in NAMES if op.startswith("cross_net") == (layout == "cross network")]
    found = hessian_traces(DifferentiableOps(model, batch), ops, torch.Generator().manual_seed(0), draws)
    for op, trace in found.items():
        assert trace == pytest.approx(exact_trace(model, op, batch), rel=0.2, abs=1e-6), op
    assert all(trace > 1e-6 for op, trace in found.items()), found


def test_trace_of_the_interaction_equals_second_differences() -> None:
    model = large_model()
    batch = tiny.batches(1, 3, architecture=SHAPE)[0]
    ops_of_batch = DifferentiableOps(model, batch)
    found = hessian_traces(ops_of_batch, ["interaction"], torch.Generator().manual_seed(0), 1000)["interaction"]
    top = copy.deepcopy(model.top_mlp).double()
    outputs = ops_of_batch.activations.interacted.detach().double()
    hessian = torch.autograd.functional.hessian(
        lambda x: F.binary_cross_entropy_with_logits(top(x).squeeze(1), batch.labels.double()), outputs
    )
    size = outputs.numel()
    assert found == pytest.approx(float(hessian.reshape(size, size).trace()), rel=0.1)


def test_damage_is_the_mean_diagonal_times_the_squared_error() -> None:
    """Uses one batch that looks up every row, so that the numbers of the whole tables count."""
    model = large_model()
    batch = tiny.batches(1, 60, architecture=SHAPE)[0]
    packer = table_packer(model)

    def make(recipe: Recipe) -> Int8DLRM:
        return quantize(model, recipe, [batch], packer)

    found = hessian_weighted_errors(model, START, make, [batch], seed=0, draws=600)
    for op in ("top_mlp.0", "tables.0"):
        weight = dict(model.named_parameters())[NAMES[op]].detach().double()
        step = weight.abs().amax(dim=1, keepdim=True) / (127 if op.startswith("tables") else 127.5)
        error = float(((weight / step).round() * step - weight).square().sum())
        assert found[op] == pytest.approx(exact_trace(model, op, batch) / weight.numel() * error, rel=0.2), op


def test_rougher_rounding_does_more_damage_to_its_op_alone() -> None:
    model = large_model()
    usual, rough = damage(model, START), damage(model, START.with_dtype("tables.0", "int4"))
    assert rough["tables.0"] > 20 * usual["tables.0"]
    assert rough["top_mlp.1"] == pytest.approx(usual["top_mlp.1"], rel=0.01)


def test_only_quantized_ops_are_measured_and_the_interaction_is_one() -> None:
    recipe = START.with_dtype("tables.1", "fp32").with_dtype("bottom_mlp.0", "bf16")
    found = damage(large_model(), recipe)
    assert tuple(found) == recipe.quantized_ops
    assert found["interaction"] > 0


def test_float_interaction_and_float_tables_are_no_trouble() -> None:
    recipe = Recipe.all_float(SHAPE).with_dtype("top_mlp.0", "int8")
    assert list(damage(large_model(), recipe)) == ["top_mlp.0"]


def test_seed_decides_and_the_model_is_left_as_it_was() -> None:
    model = large_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert damage(model, START, seed=1, draws=2) == damage(model, START, seed=1, draws=2)
    assert damage(model, START, seed=1, draws=2) != damage(model, START, seed=2, draws=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    model.requires_grad_(False)
    damage(model, START, draws=2)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_damage_is_a_mean_over_the_rows() -> None:
    model = large_model()
    small, large = tiny.batches(1, 20, architecture=SHAPE)[0], tiny.batches(1, 60, seed=2, architecture=SHAPE)[0]
    packer = table_packer(model)
    recipe = Recipe.all_float(SHAPE).with_dtype("top_mlp.1", "int8")  # Ops that are not quantized are not measured.

    def of(*batches: ClickBatch) -> float:
        return hessian_weighted_errors(
            *(model, recipe, lambda recipe: quantize(model, recipe, [small, large], packer), batches), seed=0, draws=400
        )["top_mlp.1"]

    assert of(small, large) == pytest.approx(0.25 * of(small) + 0.75 * of(large), rel=0.1)
