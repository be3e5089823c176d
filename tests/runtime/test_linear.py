"""Lowered layers compared with exact integer arithmetic; tests/kernels tests the kernels themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import ShapeError
from dlrm_pl.runtime.linear import FloatLinear, Int8Linear, LinearChain, segments
from tests.support.examples import examples


def make_layer(out: int, inputs: int, seed: int, *, channels: bool = True, **changes: object) -> Int8Linear:
    rng = torch.Generator().manual_seed(seed)
    options: dict[str, object] = {
        "input_scale": 0.02,
        "input_zero_point": 3,
        "output_scale": None,
        "output_zero_point": 0,
        "relu": False,
        "quantizes_input": True,
    }
    return Int8Linear(
        torch.randint(-127, 128, (out, inputs), generator=rng, dtype=torch.int8),
        torch.rand(out if channels else 1, generator=rng) * 0.01 + 0.001,
        torch.randn(out, generator=rng),
        **(options | changes),  # type: ignore[arg-type]
    )


def quantized(x: torch.Tensor, layer: Int8Linear) -> np.ndarray:
    return np.clip(np.rint(x.numpy() / layer.input_scale + layer.input_zero_point), 0, 255).astype(np.int64)


def exact(layer: Int8Linear, x: np.ndarray) -> np.ndarray:
    """Return integer products in int64, scaled in float64."""
    products = (x - layer.input_zero_point) @ layer.weight.numpy().astype(np.int64).T
    scale = layer.input_scale * layer.weight_scale.numpy().astype(np.float64)
    result = products * scale + layer.bias.numpy()
    return np.maximum(result, 0) if layer.relu else result


@settings(deadline=None, max_examples=examples(40))
@given(
    batch=st.integers(1, 9),
    inputs=st.integers(1, 70),
    out=st.integers(1, 40),
    relu=st.booleans(),
    channels=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_float_output_equals_exact_integer_arithmetic(
    batch: int, inputs: int, out: int, relu: bool, channels: bool, seed: int
) -> None:
    layer = make_layer(out, inputs, seed, relu=relu, channels=channels)
    # In the middle of a step, so that the resulting byte is unambiguous.
    steps = torch.randint(0, 256, (batch, inputs), generator=torch.Generator().manual_seed(seed))
    x = (steps - layer.input_zero_point).float() * layer.input_scale
    expected = exact(layer, steps.numpy())
    # Integers are exact; the zero point is folded into the bias, followed by one multiplication and one addition.
    tolerance = 1e-5 * (np.abs(expected).max() + layer.input_zero_point * inputs * 127 * 0.011 * layer.input_scale)
    np.testing.assert_allclose(LinearChain([layer])(x).numpy(), expected, rtol=1e-5, atol=tolerance + 1e-6)


@pytest.mark.parametrize("relu", [False, True])
def test_chain_is_within_a_step_of_its_layers_one_by_one(relu: bool) -> None:
    zero_point = 0 if relu else 120
    first = make_layer(64, 20, 1, relu=relu, output_scale=0.04, output_zero_point=zero_point)
    second = make_layer(5, 64, 2, input_scale=0.04, input_zero_point=zero_point, quantizes_input=False)
    x = torch.rand(200, 20) * 4
    hidden = np.clip(np.rint(exact(first, quantized(x, first)) / 0.04) + zero_point, 0, 255).astype(np.int64)
    found = LinearChain([first, second])(x).numpy()
    # A few of 64 hidden values may lie on the edge between two steps.
    difference = np.abs(found - exact(second, hidden))
    assert np.median(difference) < 1e-5
    assert difference.max() <= 3 * 0.04 * 127 * 0.011


def test_bytes_of_an_int8_interaction_are_taken_as_they_are() -> None:
    layer = make_layer(8, 70, seed=2)
    x = torch.randint(0, 256, (5, 128), dtype=torch.uint8)
    expected = exact(layer, x[:, :70].numpy().astype(np.int64))
    np.testing.assert_allclose(LinearChain([layer])(x).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_layers_between_float_ones_become_chains() -> None:
    inner = make_layer(8, 4, 0, output_scale=0.1)
    layers = [
        inner,
        make_layer(8, 8, 1, quantizes_input=False),
        FloatLinear(torch.zeros(8, 8), torch.zeros(8), relu=True, dtype="fp32"),
        make_layer(1, 8, 2),
    ]
    assert [type(part) for part in segments(layers)] == [LinearChain, FloatLinear, LinearChain]
    half = FloatLinear(torch.zeros(8, 8), torch.zeros(8), relu=True, dtype="bf16")
    alone = make_layer(8, 8, 1)
    parts = segments([half, half, make_layer(8, 8, 0, output_scale=0.1), alone, half, layers[2], half, alone, alone])
    assert [type(part) for part in parts] == [LinearChain, FloatLinear, LinearChain, LinearChain]
    for wrong in ([inner], [inner, half], [alone, alone]):
        with pytest.raises(ShapeError, match="layer 0 of a chain of Linears: an int8 Linear must have uint8 output if"):
            LinearChain(wrong)
    with pytest.raises(ShapeError, match="at least one, and all of them int8 or bf16"):
        LinearChain([layers[2]])
    with pytest.raises(ShapeError, match=r"layer 0 .* must have uint8 output"):
        segments([inner])
    with pytest.raises(ShapeError, match=r"layer 1 of a chain .* takes 7 inputs, .* has 8 outputs"):
        LinearChain([inner, make_layer(1, 7, 2, quantizes_input=False)])


def test_a_bf16_layer_of_more_inputs_than_the_kernels_take_is_computed_by_torch() -> None:
    inputs = 65_793
    layer = FloatLinear(torch.full((2, inputs), 0.5), torch.ones(2), relu=False, dtype="bf16")
    (part,) = segments([layer])
    assert part is layer
    torch.testing.assert_close(part(torch.ones(3, inputs)), torch.full((3, 2), inputs / 2 + 1), rtol=2**-7, atol=0)


def test_a_chain_refuses_fewer_inputs_than_it_was_made_for() -> None:
    chain = LinearChain([make_layer(3, 12, 0)])
    assert chain(torch.ones(2, 12)).shape == (2, 3)
    for other in (11, 6, 13):
        with pytest.raises(ShapeError, match=rf"packed for 12 inputs, got \[2, {other}\]"):
            chain(torch.ones(2, other))


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-6), ("bf16", 2e-2)])
def test_float_linear_computes_in_its_dtype(dtype: str, tolerance: float) -> None:
    weight, bias, x = torch.randn(8, 16), torch.randn(8), torch.randn(4, 16)
    layer = FloatLinear(weight, bias, relu=True, dtype=dtype)  # type: ignore[arg-type]
    result = layer(x)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.relu(x @ weight.T + bias), rtol=tolerance, atol=tolerance * 8)


def test_fp32_layer_shares_the_memory_of_the_model() -> None:
    weight = torch.randn(8, 16)
    assert FloatLinear(weight, torch.zeros(8), relu=False, dtype="fp32").weight.data_ptr() == weight.data_ptr()


@pytest.mark.parametrize(
    ("weight", "scales", "message"),
    [
        (torch.zeros(2, 3), 2, r"torch.float32 \[2, 3\]"),
        (torch.zeros(2, 3, dtype=torch.int8), 3, "3 weight scales for 2"),
        (torch.zeros(2, 65_793, dtype=torch.int8), 2, "up to 65,792 inputs, but got 65,793"),
    ],
)
def test_wrong_layers_are_rejected(weight: torch.Tensor, scales: int, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Int8Linear(
            weight,
            torch.ones(scales),
            torch.zeros(2),
            input_scale=1.0,
            input_zero_point=0,
            output_scale=None,
            output_zero_point=0,
            relu=False,
            quantizes_input=False,
        )
