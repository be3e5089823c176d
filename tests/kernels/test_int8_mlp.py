"""The MLP kernel in every variant that this machine supports, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.errors import NonFiniteError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.selection import available
from tests.reference import int8 as reference
from tests.support.native.kernels import SLOW_CHECKS, Chain, padded


def test_the_native_variants_were_built() -> None:
    assert "generic" in available()


@SLOW_CHECKS
@given(
    widths=st.lists(st.integers(1, 150), min_size=2, max_size=4),
    rows=st.integers(1, 70),
    seed=st.integers(0, 2**16),
)
def test_mlp_equals_numpy(variant: str, widths: list[int], rows: int, seed: int) -> None:
    chain, rng = Chain(widths, seed), np.random.default_rng(seed)
    x = rng.normal(0, 3, (rows, widths[0])).astype(np.float32)
    expected = reference.mlp(reference.to_bytes(x, 0.031, 40), chain.layers)
    assert torch.equal(chain.run(torch.from_numpy(x), 0.031, 40), torch.from_numpy(expected))


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 31, 32, 33, 511, 513, 1100])
def test_every_last_block_of_rows(variant: str, two_threads: None, rows: int) -> None:
    chain = Chain([479, 65, 33, 1], 5)
    x = torch.randint(0, 256, (rows, 512), dtype=torch.uint8, generator=torch.Generator().manual_seed(rows))
    expected = reference.mlp(x[:, :479].numpy(), chain.layers)
    assert torch.equal(chain.run(x), torch.from_numpy(expected))


def test_largest_sums_do_not_saturate(variant: str) -> None:
    weight = np.full((16, 1024), 127, np.int8)
    weight[8:] = -128
    ones = np.ones(16, np.float32)
    arguments = (
        [ops.pack_weight(torch.from_numpy(weight))],
        [padded(ones)],
        [torch.zeros(16)],
        [1024, 16],
        [-torch.inf],
    )
    out = torch.ops.dlrm_pl.quantized_mlp(torch.full((3, 1024), 255, dtype=torch.uint8), [1.0], [0], *arguments)
    assert out.tolist() == [[255.0 * 127 * 1024] * 8 + [255.0 * -128 * 1024] * 8] * 3


def test_halves_round_to_even(variant: str) -> None:
    weight = torch.eye(4, dtype=torch.int8)
    layer = ([ops.pack_weight(weight)], [padded(np.ones(4, np.float32))], [torch.zeros(16)], [4, 4], [0.0])
    x = torch.tensor([[0.5, 1.5, 2.5, 3.5], [-9.0, 254.5, 255.5, 1e9]])
    out = torch.ops.dlrm_pl.quantized_mlp(x, [1.0], [0], *layer)
    assert out.tolist() == [[0.0, 2.0, 2.0, 4.0], [0.0, 254.0, 255.0, 255.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_mlp_names_what_is_not_finite(variant: str, two_threads: None, bad: float) -> None:
    x = torch.zeros(100, 13)
    x[77, 5] = bad
    x[93, 2] = bad
    with pytest.raises(NonFiniteError, match="sample 77: feature 5"):
        Chain([13, 20], 0).run(x)


def test_results_do_not_depend_on_earlier_calls(variant: str) -> None:
    """Also if weights were packed for more inputs than the caller states: missing inputs are 0."""
    for full, fewer in (([64, 20, 3], [6, 20, 3]), ([13, 64, 3], [13, 20, 3])):
        chain = Chain(full, 7)
        outs = [padded(np.zeros(width, np.float32)).shape[0] for width in fewer[1:]]
        chain.weights = [weight[: out // 16] for weight, out in zip(chain.weights, outs, strict=True)]
        chain.multipliers = [each[:out] for each, out in zip(chain.multipliers, outs, strict=True)]
        chain.biases = [each[:out] for each, out in zip(chain.biases, outs, strict=True)]
        chain.widths = fewer
        x, results = torch.ones(40, fewer[0]), []
        for before in (-1e9, 1e9):
            Chain([64, 64, 64, 1], 8).run(torch.full((40, 64), before))
            results.append(chain.run(x))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DLRM_PL_ISA", "fallback")
            results.append(chain.run(x))
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])
