"""Rounded values equal the kernels' bit for bit, and gradients pass as if nothing were rounded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.quantization.aware.rounding import round_activation, round_rows, round_weight
from dlrm_pl.quantization.ptq.quantize_linear import ByteGrid, Range, byte_grid
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.runtime.tables import TABLE_DTYPES, PackedTables, TableDtype
from tests.reference import int8 as reference
from tests.support.examples import examples


@pytest.mark.parametrize("dtype", TABLE_DTYPES)
@settings(max_examples=examples(15), deadline=None)
@given(seed=st.integers(0, 2**16), dim=st.integers(1, 20), spread=st.sampled_from([1e-35, 1e-3, 1.0, 300.0]))
def test_a_row_is_what_the_packed_table_gives(dtype: TableDtype, seed: int, dim: int, spread: float) -> None:
    rows = torch.randn(12, dim, generator=torch.Generator().manual_seed(seed)) * spread
    rows[0] = 0.0
    packed = PackedTables(TablePacker([rows]).packed([dtype]), [dtype], dim)
    expected = packed(torch.arange(12)[None], None)[:, 0]
    assert torch.equal(round_rows(rows, dtype), expected)


@settings(max_examples=examples(40), deadline=None)
@given(seed=st.integers(0, 2**16), low=st.floats(-3, 0), high=st.floats(0.01, 3))
def test_an_activation_is_the_byte_that_the_kernels_make_of_it(seed: int, low: float, high: float) -> None:
    grid = byte_grid(Range(low, high), "affine", "x")
    x = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * 2
    bytes_ = reference.to_bytes(x.numpy(), grid.scale, grid.zero_point).astype("float32")
    torch.testing.assert_close(
        round_activation(x, grid), (torch.from_numpy(bytes_) - grid.zero_point) * grid.scale, rtol=1e-6, atol=0
    )


def test_gradients_pass_inside_the_grid_and_not_beyond_it() -> None:
    x = torch.tensor([-2.0, -1.0, 0.3, 1.54, 1.6], requires_grad=True)
    round_activation(x, ByteGrid(0.01, 100)).sum().backward()  # Bytes represent -1.00 to 1.55.
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", TABLE_DTYPES)
def test_gradients_of_rows_and_weights_pass_unchanged(dtype: TableDtype) -> None:
    x, gradient = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6)
    round_rows(x, dtype).backward(gradient)
    assert x.grad is not None
    assert torch.equal(x.grad, gradient)
    x.grad = None
    round_weight(x, "per_tensor").backward(gradient)
    assert torch.equal(x.grad, gradient)


def test_weights_have_at_most_256_values_a_channel() -> None:
    weight = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    for channel, rounded in zip(weight, round_weight(weight, "per_channel"), strict=True):
        assert len(rounded.unique()) <= 256
        assert float((rounded - channel).abs().max()) <= float(channel.abs().max()) / 127.5 * 1.01
