"""Packing of rows in every variant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.errors import NonFiniteError
from dlrm_pl.kernels.int8.rows import row_bytes
from tests.reference import int8 as reference
from tests.support.native.kernels import SLOW_CHECKS, pack, pack_with


@SLOW_CHECKS
@given(
    dtype=st.sampled_from(["int8", "int4"]),
    rows=st.integers(1, 20),
    dim=st.integers(1, 70),
    exponent=st.integers(-40, 30),
    seed=st.integers(0, 2**16),
)
def test_packing_is_within_half_a_step(variant: str, dtype: str, rows: int, dim: int, exponent: int, seed: int) -> None:
    values = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) * 10.0**exponent
    values[0] = 0.0
    packed = pack(values, dtype)
    assert packed.shape == (rows, row_bytes(dtype, dim))  # type: ignore[arg-type]
    unpacked = np.stack([reference.bag_sum([row.numpy()], dtype, dim) for row in packed])
    span = (
        values.abs().amax(1) / 127
        if dtype == "int8"
        else (values.amax(1).clamp_min(0) - values.amin(1).clamp_max(0)) / 15
    )
    # Half a step; for int4 another half if the zero point is not a whole step, and 1/128 for bfloat16.
    allowed = span * (0.5001 if dtype == "int8" else 1.02) + 2e-29  # Smaller values become 0.
    assert ((torch.from_numpy(unpacked) - values).abs() <= allowed[:, None]).all()
    assert torch.equal(packed, pack_with("fallback", values, dtype))


def test_packing_names_the_row_that_is_not_finite(variant: str) -> None:
    values = torch.zeros(5000, 8)
    values[4321, 7] = float("inf")
    with pytest.raises(NonFiniteError, match="row 4321 holds"):
        pack(values, "int8")
