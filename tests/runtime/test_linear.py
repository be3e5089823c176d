"""The one call site of oneDNN's int8 Linear, against exact integer arithmetic."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import ShapeError
from dlrm_pl.runtime.linear import FloatLinear, Int8Linear, quantize_activations


def make_layer(out: int, inputs: int, seed: int, *, channels: bool = True, **changes: object) -> Int8Linear:
    rng = torch.Generator().manual_seed(seed)
    options: dict[str, object] = {
        "input_scale": 0.02,
        "input_zero_point": 3,
        "output_scale": None,
        "output_zero_point": 0,
        "relu": False,
        "quantizes_input": False,
    }
    return Int8Linear(
        torch.randint(-127, 128, (out, inputs), generator=rng, dtype=torch.int8),
        torch.rand(out if channels else 1, generator=rng) * 0.01 + 0.001,
        torch.randn(out, generator=rng),
        **(options | changes),  # type: ignore[arg-type]
    )


def exact(layer: Int8Linear, x: torch.Tensor) -> np.ndarray:
    """Integer products in int64, then the scales in float64."""
    products = (x.numpy().astype(np.int64) - layer.input_zero_point) @ layer.weight.numpy().astype(np.int64).T
    scale = layer.input_scale * layer.weight_scale.numpy().astype(np.float64)
    result = products * scale + layer.bias.numpy()
    return np.maximum(result, 0) if layer.relu else result


@settings(deadline=None, max_examples=40)
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
    x = torch.randint(0, 256, (batch, inputs), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    expected = exact(layer, x)
    # Integers are exact; two float32 multiplications and an addition follow.
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max() + 1e-6)


@pytest.mark.parametrize("relu", [False, True])
def test_uint8_output_is_within_one_step_of_exact(relu: bool) -> None:
    layer = make_layer(64, 128, seed=1, relu=relu, output_scale=0.4, output_zero_point=0 if relu else 120)
    x = torch.randint(0, 256, (200, 128), dtype=torch.uint8)
    expected = np.clip(np.round(exact(layer, x) / 0.4) + layer.output_zero_point, 0, 255)
    found = layer(x)
    assert found.dtype == torch.uint8
    difference = np.abs(found.numpy().astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01  # Only values on the edge between two steps may differ.


def test_saturating_inputs_are_summed_in_32_bits() -> None:
    """255 * 127 twice overflows 16 bits: what processors without VNNI get wrong, and why reduce_range exists."""
    from dlrm_pl.runtime.cpu import has_vnni

    if not has_vnni():
        pytest.skip("this processor saturates, recipes reduce the range for it")
    layer = Int8Linear(
        torch.full((4, 256), 127, dtype=torch.int8),
        torch.ones(4),
        torch.zeros(4),
        input_scale=1.0,
        input_zero_point=0,
        output_scale=None,
        output_zero_point=0,
        relu=False,
        quantizes_input=False,
    )
    assert layer(torch.full((3, 256), 255, dtype=torch.uint8)).tolist() == [[255.0 * 127 * 256] * 4] * 3


@settings(deadline=None, max_examples=40)
@given(scale=st.floats(1e-4, 10), zero_point=st.integers(0, 255), largest=st.sampled_from([127, 255]))
def test_quantized_activations_are_within_half_a_step(scale: float, zero_point: int, largest: int) -> None:
    zero_point = min(zero_point, largest)
    x = torch.linspace(-zero_point * scale, (largest - zero_point) * scale, 501)
    back = (quantize_activations(x, scale, zero_point, largest).float() - zero_point) * scale
    assert (back - x).abs().max() <= scale * (0.5 + 1e-3)


def test_activations_outside_the_range_are_clamped() -> None:
    x = torch.tensor([-1e9, -1.0, 0.0, 1e9])
    assert quantize_activations(x, 0.5, 1, 127).tolist() == [0, 0, 1, 127]


def test_float_input_is_quantized_first() -> None:
    layer = make_layer(8, 16, seed=2, quantizes_input=True)
    x = torch.rand(5, 16) * 4
    inner = quantize_activations(x, layer.input_scale, layer.input_zero_point, 255)
    np.testing.assert_allclose(layer(x).numpy(), exact(layer, inner), rtol=1e-4, atol=1e-4)


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


def test_weights_of_another_dtype_are_rejected() -> None:
    with pytest.raises(ShapeError, match=r"torch.float32 \[2, 3\]"):
        Int8Linear(
            torch.zeros(2, 3),
            torch.ones(2),
            torch.zeros(2),
            input_scale=1.0,
            input_zero_point=0,
            output_scale=None,
            output_zero_point=0,
            relu=False,
            quantizes_input=False,
        )


def test_wrong_number_of_weight_scales_is_rejected() -> None:
    with pytest.raises(ShapeError, match="3 weight scales for 2"):
        Int8Linear(
            torch.zeros(2, 3, dtype=torch.int8),
            torch.ones(3),
            torch.zeros(2),
            input_scale=1.0,
            input_zero_point=0,
            output_scale=None,
            output_zero_point=0,
            relu=False,
            quantizes_input=False,
        )
