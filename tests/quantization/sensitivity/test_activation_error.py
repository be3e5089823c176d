"""Errors of the outputs of quantized ops, compared with NumPy, and in models with planted problems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dlrm_pl.batch import first_samples
from dlrm_pl.errors import CalibrationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.calibration_sample import calibration_sample
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.sensitivity.activation_error import activation_errors, logit_error
from dlrm_pl.quantization.sensitivity.float_activations import float_activations
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.linear import Int8Linear
from tests.support import tiny

START = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
BATCHES = tiny.batches(2, 64)
CROSS = {"dcn": {"cross_layers": 2, "cross_rank": 5}}


def maker(model: DLRM):  # type: ignore[no-untyped-def]
    packer = table_packer(model)
    return lambda recipe: quantize(model, recipe, BATCHES, packer)


def errors(model: DLRM, recipe: Recipe = START) -> dict[str, float]:
    return activation_errors(model, recipe, maker(model), BATCHES)


def share(actual: np.ndarray, wanted: np.ndarray) -> float:
    return float((actual - wanted).var(axis=0).sum() / wanted.var(axis=0).sum())


def by_numpy(layer: Int8Linear, x: np.ndarray) -> np.ndarray:
    """Compute an int8 Linear in double precision, rounding where the kernel rounds."""
    steps = np.clip(np.rint(x / layer.input_scale) + layer.input_zero_point, 0, 255) - layer.input_zero_point
    weight = layer.weight.numpy() * layer.weight_scale.numpy()[:, None].astype(np.float64)
    y = steps * layer.input_scale @ weight.T + layer.bias.numpy()
    y = np.maximum(y, 0) if layer.relu else y
    if layer.output_scale is None:
        return y
    zero = layer.output_zero_point
    return (np.clip(np.rint(y / layer.output_scale) + zero, 0, 255) - zero) * layer.output_scale


@pytest.mark.parametrize("op", ["bottom_mlp.0", "bottom_mlp.1", "top_mlp.1", "top_mlp.2"])
def test_error_of_a_linear_equals_numpy(op: str) -> None:
    model = tiny.model()
    layer = maker(model)(START).layers[op]
    assert isinstance(layer, Int8Linear)
    with torch.no_grad():
        activations = [float_activations(model, batch) for batch in BATCHES]
    wanted = np.concatenate([found.outputs[op].double().numpy() for found in activations])
    actual = by_numpy(layer, np.concatenate([found.inputs[op].double().numpy() for found in activations]))
    # A value on the edge between two steps may round either way in single precision.
    assert errors(model)[op] == pytest.approx(share(actual, wanted), rel=0.02)


@pytest.mark.parametrize("op", ["cross_net.0.v", "cross_net.1.w"])
def test_error_of_a_cross_layer_equals_numpy(op: str) -> None:
    shape = replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=5)
    model, recipe = tiny.model(architecture=shape), Recipe.starting_from(RecipeStart(), shape)
    layer = maker(model)(recipe).layers[op]
    with torch.no_grad():
        activations = [float_activations(model, batch) for batch in BATCHES]
    wanted = np.concatenate([found.outputs[op].double().numpy() for found in activations])
    actual = by_numpy(layer, np.concatenate([found.inputs[op].double().numpy() for found in activations]))
    assert errors(model, recipe)[op] == pytest.approx(share(actual, wanted), rel=0.02)


def test_error_of_a_table_equals_numpy() -> None:
    model = tiny.model()
    table = next(iter(model.embedding_bags.parameters())).detach().double().numpy()
    scale = np.abs(table).max(axis=1, keepdims=True) / 127
    rounded = np.rint(table / scale) * scale
    rows = np.concatenate([batch.indices[0].numpy() for batch in BATCHES])
    assert errors(model)["tables.0"] == pytest.approx(share(rounded[rows], table[rows]), rel=0.02)


def test_every_quantized_op_has_an_error_and_no_other() -> None:
    recipe = START.with_dtype("tables.1", "fp16").with_dtype("top_mlp.1", "bf16")
    found = errors(tiny.model(), recipe)
    assert list(found) == list(recipe.quantized_ops)
    assert all(0 < error < 0.1 for error in found.values())


def test_op_is_charged_with_its_own_error_alone() -> None:
    model = tiny.model()
    rough = errors(model, START.with_dtype("tables.0", "int4").with_dtype("bottom_mlp.0", "fp32"))
    usual = errors(model)
    assert rough["tables.0"] > 20 * usual["tables.0"]
    # The range of top_mlp.0's input is calibrated with the coarser tables, so it changes a little.
    for op in ("tables.1", "bottom_mlp.1", "interaction", "top_mlp.2"):
        assert rough[op] == pytest.approx(usual[op], rel=0.5)


def test_linear_behind_unequal_channels_is_the_worst() -> None:
    model = tiny.model()
    before, after = (layer for layer in model.bottom_mlp if isinstance(layer, torch.nn.Linear))
    with torch.no_grad():
        before.weight[3] *= 1000
        before.bias[3] *= 1000
        after.weight[:, 3] /= 1000
    found = errors(model)
    assert max(found, key=lambda op: found[op]) == "bottom_mlp.1"
    assert found["bottom_mlp.1"] > 100 * errors(tiny.model())["bottom_mlp.1"]


def test_table_with_a_large_constant_is_the_worst() -> None:
    model = tiny.model()
    with torch.no_grad():
        list(model.embedding_bags.parameters())[1][:, 0] = 100.0  # Other values of a row share its scale, and are lost.
    found = errors(model)
    assert max(found, key=lambda op: found[op]) == "tables.1"
    assert found["tables.1"] == pytest.approx(1.0, abs=0.01)


def test_outputs_that_are_zero_have_no_error() -> None:
    model = tiny.model()
    first = next(iter(model.bottom_mlp.children()))
    with torch.no_grad():
        first.weight.zero_()
        first.bias.fill_(-1.0)  # Zero after the ReLU, and the same for every row.
        list(model.embedding_bags.parameters())[1].zero_()
    found = errors(model)
    assert found["bottom_mlp.0"] == 0.0
    assert found["tables.1"] == 0.0
    assert all(np.isfinite(list(found.values())))


def test_constant_output_has_no_error_although_it_is_rounded() -> None:
    model = tiny.model()
    first = next(iter(model.bottom_mlp.children()))
    with torch.no_grad():
        first.weight.zero_()
        first.bias.copy_(torch.linspace(0.1, 0.7, 16))
    layer = maker(model)(START).layers["bottom_mlp.0"]
    assert isinstance(layer, Int8Linear)
    assert layer.output_scale is not None
    assert not torch.equal((first.bias / layer.output_scale).round() * layer.output_scale, first.bias)
    # 37 rows: sums over powers of two are exact, and would hide rounding errors.
    batches = [first_samples(batch, 37) for batch in BATCHES]
    assert activation_errors(model, START, maker(model), batches)["bottom_mlp.0"] == 0.0


def test_logit_error_is_the_mean_square() -> None:
    model = tiny.model()
    quantized: Int8DLRM = maker(model)(START)
    with torch.no_grad():
        differences = torch.cat([quantized(batch) - model(batch) for batch in BATCHES]).double()
    assert logit_error(model, quantized, BATCHES) == pytest.approx(float((differences**2).mean()), rel=1e-6)


@pytest.mark.parametrize("interaction", ["dot", "cat", "dcn"])
@pytest.mark.parametrize("multi_hot", [False, True])
def test_float_activations_end_in_the_logits_of_the_model(interaction: str, multi_hot: bool) -> None:
    shape = Architecture(
        (40, 7, 25),
        8,
        (13, 16, 8),
        (12, 6, 1),
        interaction=interaction,
        **CROSS.get(interaction, {}),
        loss_threshold=0.4,
    )  # type: ignore[arg-type]
    model = tiny.model(architecture=shape)
    batch = tiny.as_multi_hot(BATCHES[0]) if multi_hot else BATCHES[0]
    with torch.no_grad():
        assert torch.equal(float_activations(model, batch).logits, model(batch))


def test_sample_ends_with_the_last_row_that_was_asked_for() -> None:
    full = tiny.batches(4, 10)
    batches = [first_samples(full[0], 0), *full]
    assert [batch.num_samples for batch in calibration_sample(batches, 11)] == [10, 1]
    assert len(calibration_sample(batches, 1000)) == 4


def test_sample_without_rows_is_refused() -> None:
    with pytest.raises(CalibrationError, match="no calibration rows"):
        calibration_sample([], 1)
