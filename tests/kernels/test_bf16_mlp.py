"""Linears in bfloat16 in the MLP kernel of every variant that this machine supports."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dlrm_pl.errors import NonFiniteError
from dlrm_pl.kernels.int8 import ops
from tests.reference import bf16 as reference
from tests.support.native.kernels import SLOW_CHECKS, padded


class Mixed:
    """Random layers, each int8 or bf16."""

    def __init__(self, widths: list[int], types: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.widths, self.types = widths, types
        self.scales = (10.0 ** rng.uniform(-2, -1, len(types))).tolist()
        self.zero_points = rng.integers(0, 256, len(types)).tolist()
        self.weights, self.multipliers, self.biases = [], [], []
        self.lowest = [0.0] * (len(types) - 1) + [-torch.inf]
        for (ins, outs), dtype in zip(pairwise(widths), types, strict=True):
            bias = rng.normal(0, 1, outs).astype(np.float32)
            if dtype == "i":
                self.weights.append(torch.from_numpy(rng.integers(-128, 128, (outs, ins)).astype(np.int8)))
                self.multipliers.append(padded((rng.uniform(0.2, 3, outs) / (640 * ins**0.5)).astype(np.float32)))
            else:
                spread = 10.0 ** rng.uniform(-3, 1, (outs, ins))
                self.weights.append(torch.from_numpy(rng.normal(0, ins**-0.5, (outs, ins)) * spread).bfloat16())
                self.multipliers.append(torch.empty(0))
                bias = torch.from_numpy(bias).bfloat16().float().numpy()
            self.biases.append(padded(bias))

    def run(self, x: Tensor, layers: slice = slice(None)) -> Tensor:
        first, last, _ = layers.indices(len(self.types))
        arguments: list[Any] = [
            *(self.scales, self.zero_points, [ops.pack_weight(weight) for weight in self.weights]),
            *(self.multipliers, self.biases),
        ]
        lowest = self.lowest[layers]
        result: Tensor = torch.ops.dlrm_pl.quantized_mlp(
            x, *(each[layers] for each in arguments), self.widths[first : last + 1], lowest
        )
        return result


def numbers(rows: int, columns: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        (rng.normal(0, 1, (rows, columns)) * 10.0 ** rng.uniform(-3, 1, (rows, 1))).astype(np.float32)
    )


@pytest.mark.parametrize("inputs", [1, 31, 70, 200])
def test_a_layer_equals_exact_arithmetic_in_the_order_of_the_tiles(variant: str, inputs: int) -> None:
    layer, x = Mixed([inputs, 3], "b", inputs), numbers(2, inputs, inputs)
    weight, bias = layer.weights[0].float().numpy(), layer.biases[0].numpy()
    expected = [
        [reference.dot(reference.bf16(row), reference.bf16(weight[out])) + bias[out] for out in range(3)]
        for row in x.numpy()
    ]
    assert torch.equal(layer.run(x), torch.tensor(np.array(expected)).bfloat16().float())


@SLOW_CHECKS
@given(
    widths=st.lists(st.integers(1, 300), min_size=2, max_size=5),
    kinds=st.lists(st.sampled_from("ib"), min_size=4, max_size=4),
    rows=st.integers(1, 70),
    seed=st.integers(0, 2**16),
)
def test_every_variant_gives_the_same_bits(
    variant: str, widths: list[int], kinds: list[str], rows: int, seed: int
) -> None:
    chain, x = Mixed(widths, "".join(kinds[: len(widths) - 1]), seed), numbers(rows, widths[0], seed)
    found = chain.run(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLRM_PL_ISA", "fallback")
        assert torch.equal(found, chain.run(x))


@pytest.mark.parametrize("rows", [1, 15, 17, 33, 511, 513, 1100])
@pytest.mark.parametrize("types", ["ibi", "bib", "bbi"])
def test_a_chain_equals_its_layers_one_by_one(variant: str, two_threads: None, types: str, rows: int) -> None:
    if variant == "fallback" and rows > 33:
        pytest.skip("takes long, and knows no blocks of rows")
    chain, x = Mixed([65, 140, 129, 3], types, 1), numbers(rows, 65, rows)
    one = x
    for index in range(3):
        one = chain.run(one, slice(index, index + 1))
    assert torch.equal(chain.run(x), one)


def test_a_layer_is_close_to_a_linear_of_torch(variant: str) -> None:
    layer, x = Mixed([479, 64], "b", 3), numbers(40, 479, 3)
    weight = layer.weights[0].double()
    exact = x.bfloat16().double() @ weight.T + layer.biases[0].double()
    # Half a step of the result, plus the rounding of the sum in float32.
    magnitude = x.bfloat16().double().abs() @ weight.abs().T
    assert bool(((layer.run(x).double() - exact).abs() <= 2**-8 * exact.abs() + 2**-19 * magnitude).all())


def test_tiny_numbers_are_zero(variant: str) -> None:
    layer = Mixed([4, 2], "b", 0)
    layer.weights[0] = torch.tensor([[2.0**100, 0, 0, 0], [2.0**-51, 0, 0, 2.0**-50]]).bfloat16()
    layer.biases[0].zero_()
    x = torch.tensor([[2.0**-51, 1, 1, 1], [2.0**-50, 1, 1, 2.0**50]])
    assert layer.run(x).tolist() == [[0.0, 2.0**-50], [2.0**50, 1.0]]


@pytest.mark.parametrize("bad", [float("nan"), -float("inf"), 3.4e38])
def test_inputs_that_bfloat16_does_not_hold_are_named(variant: str, two_threads: None, bad: float) -> None:
    x = torch.zeros(100, 13)
    x[77, 5] = bad
    x[93, 2] = bad
    with pytest.raises(NonFiniteError, match="sample 77: feature 5 is NaN or infinite and has no int8 or bf16 value"):
        Mixed([13, 20], "b", 0).run(x)


@pytest.mark.parametrize("types", ["bi", "bb", "ib", "b"])
def test_outputs_that_bfloat16_does_not_hold_are_named(variant: str, types: str) -> None:
    chain = Mixed([13, 20, 5][: len(types) + 1], types, 0)
    if types[0] == "b":
        chain.weights[0].fill_(2.0**127)
    else:
        chain.multipliers[0].fill_(3e38)
        chain.weights[0].fill_(127)
        chain.zero_points[0] = 0
    x = torch.zeros(40, 13)
    chain.biases[0].zero_()
    x[31], x[35] = 2.0, 3.0
    with pytest.raises(NonFiniteError, match="sample 31: an output of layer 0 of a chain with a bf16 Linear is NaN or"):
        chain.run(x)


def test_packed_weights_are_padded_and_keep_their_values() -> None:
    weight = torch.randn(17, 65, generator=torch.Generator().manual_seed(1)).bfloat16()
    packed = ops.pack_weight(weight)
    assert packed.shape == (2, 4, 16, 32)
    for out, place in ((0, 0), (16, 64), (3, 33)):
        pair = packed[out // 16, place // 32, place % 32 // 2].view(16, 2)
        assert pair[out % 16, place % 2] == weight[out, place]
    assert packed.count_nonzero() == weight.count_nonzero()
