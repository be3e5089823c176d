"""Int8 Linears made from observed ranges equal torch.ao's converted ones bit for bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import CalibrationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.ptq.quantize_linear import ByteGrid, Range, byte_grid, quantize_linear, quantize_weight
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.linear import Int8Linear
from tests.support import tiny
from tests.support.quantization.eager import quantized_by_torch_ao

WIDTHS = st.lists(st.integers(1, 70), max_size=1)
EXACT = {"rtol": 0, "atol": 0}


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    dim = draw(st.integers(1, 20))
    return Architecture(
        table_sizes=tuple(draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))),
        embedding_dim=dim,
        bottom_mlp=(draw(st.integers(1, 70)), *draw(WIDTHS), dim),
        top_mlp=(*draw(WIDTHS), 1),
        interaction=draw(st.sampled_from(["dot", "cat"])),
    )


@st.composite
def recipes(draw: st.DrawFn, architecture: Architecture) -> Recipe:
    """Mostly int8, so that segments begin and end everywhere."""
    linear = st.sampled_from(["int8", "int8", "int8", "bf16", "fp32"])
    return Recipe(
        bottom_mlp=tuple(draw(linear) for _ in architecture.bottom_mlp[1:]),
        top_mlp=tuple(draw(linear) for _ in architecture.top_mlp),
        tables=tuple(draw(st.sampled_from(["int8", "fp32"])) for _ in architecture.table_sizes),
        interaction=draw(st.sampled_from(["int8", "fp32"])) if architecture.interaction == "dot" else "fp32",
        observer=draw(st.sampled_from(["minmax", "minmax", "minmax", "minmax", "percentile", "kl", "histogram"])),
        activation_scheme=draw(st.sampled_from(["affine", "symmetric"])),
        weight_granularity=draw(st.sampled_from(["per_channel", "per_tensor"])),
        bias_correction=draw(st.booleans()),
    )


def clicks(architecture: Architecture, rows: int, seed: int) -> ClickBatch:
    rng = torch.Generator().manual_seed(seed)
    dense = torch.rand(rows, architecture.bottom_mlp[0], generator=rng) * 4
    indices = torch.stack([torch.randint(0, size, (rows,), generator=rng) for size in architecture.table_sizes])
    return ClickBatch(dense, indices, None, torch.zeros(rows))


def steps(model: Int8DLRM) -> list[tuple[object, ...]]:
    """Return what an artifact stores for each layer besides its tensors."""
    names = ("input_scale", "input_zero_point", "output_scale", "output_zero_point", "relu", "quantizes_input", "dtype")
    return [tuple(getattr(layer, name, None) for name in names) for layer in model.layers.values()]


# Five at a time, because torch's histograms take a tenth of a second each; the next run draws others.
@settings(max_examples=5, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**16), spread=st.sampled_from([1e-30, 0.05, 1.0, 30.0]))
def test_a_recipe_gives_the_bits_of_torch_ao(data: st.DataObject, seed: int, spread: float) -> None:
    architecture = data.draw(architectures())
    recipe = data.draw(recipes(architecture))
    model = tiny.model(seed, architecture)
    with torch.no_grad():
        for parameter in (*model.bottom_mlp.parameters(), *model.top_mlp.parameters()):
            parameter.mul_(spread)
    calibration = [clicks(architecture, 40, seed), clicks(architecture, 40, seed + 1)]
    expected = quantized_by_torch_ao(model, recipe, calibration)
    made = quantize(model, recipe, calibration, table_packer(model))
    assert steps(made) == steps(expected)
    torch.testing.assert_close(made.state_dict(), expected.state_dict(), **EXACT)
    batch = clicks(architecture, 50, seed + 2)
    torch.testing.assert_close(made(batch), expected(batch), **EXACT)


@given(
    values=st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=1, max_size=40),
    granularity=st.sampled_from(["per_channel", "per_tensor"]),
)
def test_weights_round_as_torch_quantizes(values: list[float], granularity: str) -> None:
    weight = torch.tensor(values).reshape(-1, 1 if len(values) % 2 else 2)
    rounded, scale = quantize_weight(weight, granularity)  # type: ignore[arg-type]
    if granularity == "per_channel":
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        expected = torch.quantize_per_channel(weight, scale.double(), zeros, 0, torch.qint8)
    else:
        expected = torch.quantize_per_tensor(weight, float(scale), 0, torch.qint8)
    assert torch.equal(rounded, expected.int_repr())


def test_weights_half_way_between_two_steps_round_to_even() -> None:
    weight = torch.tensor([[127.5, 0.5, 1.5, 2.5, -0.5, -1.5, -127.5]])
    rounded, scale = quantize_weight(weight, "per_channel")
    assert scale.tolist() == [1.0]
    assert rounded.tolist() == [[127, 0, 2, 2, 0, -2, -128]]


def test_grid_of_each_scheme() -> None:
    assert byte_grid(Range(0.0, 255.0), "affine", "x") == ByteGrid(1.0, 0)
    assert byte_grid(Range(-255.0, -55.0), "affine", "x") == ByteGrid(1.0, 255)
    assert byte_grid(Range(-127.5, 3.0), "symmetric", "x") == ByteGrid(1.0, 128)
    assert byte_grid(Range(0.0, 0.0), "affine", "x") == ByteGrid(2.0**-23, 0)


@pytest.mark.parametrize("observed", [Range(0.0, float("inf")), Range(float("nan"), 1.0), Range(-3e38, 3e38)])
def test_range_that_float32_does_not_hold_names_its_place(observed: Range) -> None:
    with pytest.raises(
        CalibrationError, match=r"the input of top_mlp\.0 has no finite range.* gave (-3e\+38|0|nan) to"
    ):
        byte_grid(observed, "affine", "the input of top_mlp.0")


def test_a_linear_without_a_bias_gets_zeros_and_the_float_layer_stays() -> None:
    linear = nn.Linear(3, 2, bias=False)
    before = linear.weight.detach().clone()
    made = quantize_linear(linear, ByteGrid(0.1, 3), None, "per_tensor", relu=True, quantizes_input=True)
    assert isinstance(made, Int8Linear)
    assert made.bias.tolist() == [0.0, 0.0]
    assert (made.input_scale, made.input_zero_point) == (0.1, 3)
    assert (made.output_scale, made.output_zero_point, made.relu) == (None, 0, True)
    assert torch.equal(linear.weight, before)
