"""Chains of Linears and lookups in the form that the kernels take, with NumPy's results."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.rows import TABLE_DTYPES, round_up, row_bytes
from dlrm_pl.kernels.int8.selection import kernels_of
from tests.support.examples import examples

SLOW_CHECKS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(40)
)


class Chain:
    """Random layers for the op and for the reference."""

    def __init__(self, widths: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.layers = []
        self.weights, self.multipliers, self.biases, self.lowest = [], [], [], []
        self.widths = widths
        for ins, outs in pairwise(widths):
            weight = rng.integers(-128, 128, (outs, ins)).astype(np.int8)
            multiplier = (rng.uniform(0.2, 3.0, outs) / (64 * ins**0.5)).astype(np.float32)
            bias = rng.normal(60, 40, outs).astype(np.float32)
            lowest = float(rng.choice([0, 0, 7]))
            self.layers.append((weight, multiplier, bias, lowest))
            self.weights.append(ops.pack_weight(torch.from_numpy(weight)))
            self.multipliers.append(padded(multiplier))
            self.biases.append(padded(bias))
            self.lowest.append(lowest)

    def arguments(self, scale: float = 1.0, zero_point: int = 0) -> tuple[list[Any], ...]:
        others = len(self.weights) - 1
        inputs = [scale, *[1.0] * others], [zero_point, *[0] * others]
        return (*inputs, self.weights, self.multipliers, self.biases, self.widths, self.lowest)

    def run(self, x: Tensor, scale: float = 1.0, zero_point: int = 0) -> Tensor:
        result: Tensor = torch.ops.dlrm_pl.quantized_mlp(x, *self.arguments(scale, zero_point))
        return result


class Crossed:
    """Random lookups followed by a cross network, for the op and for the reference."""

    def __init__(self, lookups: Lookups, layers: int, rank: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.lookups, self.rank = lookups, rank
        width = (len(lookups.tables) + 1) * lookups.dim
        self.inputs = [(float(10.0 ** rng.uniform(-2, 0)), int(rng.integers(0, 256))) for _ in range(layers)]
        self.layers = []
        for ins, outs, spread, middle in [(width, rank, 64.0, 90.0), (rank, width, 9000.0, 0.1)] * layers:
            weight = rng.integers(-128, 128, (outs, ins)).astype(np.int8)
            multiplier = (rng.uniform(0.2, 3.0, outs) / (spread * ins**0.5)).astype(np.float32)
            self.layers.append((weight, multiplier, rng.normal(middle, middle, outs).astype(np.float32)))
        self.weights = [ops.pack_weight(torch.from_numpy(weight)) for weight, _, _ in self.layers]
        self.multipliers = [padded(multiplier) for _, multiplier, _ in self.layers]
        self.biases = [padded(bias) for _, _, bias in self.layers]

    def run(self, scale: float | None = None, zero_point: int = 0) -> Tensor:
        lookups = self.lookups
        scales, zero_points = map(list, zip(*self.inputs, strict=True))
        result: Tensor = torch.ops.dlrm_pl.lookup_cross(
            *(lookups.dense, lookups.indices, lookups.offsets, lookups.tables, lookups.dtypes, scales, zero_points),
            *(self.weights, self.multipliers, self.biases, self.rank, scale, zero_point, lookups.is_mean),
        )
        return result


def padded(values: np.ndarray) -> Tensor:
    result = torch.zeros(round_up(len(values), 16))
    result[: len(values)] = torch.from_numpy(values)
    return result


class Lookups:
    """Random tables and bags, for the ops and for the reference."""

    def __init__(
        self, dtypes: list[str], dim: int, batch: int, seed: int, *, multi_hot: bool, is_mean: tuple[bool, ...] = ()
    ) -> None:
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        self.names, self.dtypes, self.dim, self.batch = dtypes, [TABLE_DTYPES.index(d) for d in dtypes], dim, batch
        self.is_mean = list(is_mean)
        self.sizes = [int(rng.integers(1, 40)) for _ in dtypes]
        self.tables = []
        for dtype, rows in zip(dtypes, self.sizes, strict=True):
            values = torch.randn(rows, dim, generator=generator) * 10 ** float(rng.uniform(-3, 1))
            values[0] = 0.0
            self.tables.append(pack(values, dtype))
        counts = rng.integers(0, 4, (len(dtypes), batch)) if multi_hot else np.ones((len(dtypes), batch), np.int64)
        self.bags = [
            [rng.integers(0, size, count).tolist() for count in row]
            for size, row in zip(self.sizes, counts, strict=True)
        ]
        flat = [index for table in self.bags for bag in table for index in bag]
        self.indices = torch.tensor(flat, dtype=torch.int64)
        self.offsets: Tensor | None = torch.from_numpy(np.concatenate([[0], np.cumsum(counts.ravel())]))
        if not multi_hot:
            self.indices, self.offsets = self.indices.view(len(dtypes), batch), None
        self.dense = torch.randn(batch, dim, generator=generator)

    def rows(self, sample: int) -> list[tuple[list[np.ndarray], str]]:
        return [
            ([table[index].numpy() for index in bags[sample]], dtype)
            for table, bags, dtype in zip(self.tables, self.bags, self.names, strict=True)
        ]

    def interact(self, diagonal: bool = False, scale: float | None = None, zero_point: int = 0) -> Tensor:
        result: Tensor = torch.ops.dlrm_pl.lookup_interaction(
            self.dense, self.indices, self.offsets, self.tables, self.dtypes, diagonal, scale, zero_point, self.is_mean
        )
        return result

    def pool(self) -> Tensor:
        result: Tensor = torch.ops.dlrm_pl.lookup(
            self.indices, self.offsets, self.tables, self.dtypes, self.dim, self.batch, self.is_mean
        )
        return result


def pack(values: Tensor, dtype: str) -> Tensor:
    if dtype == "fp32":
        return values
    return values.half() if dtype == "fp16" else torch.ops.dlrm_pl.pack_rows(values, TABLE_DTYPES.index(dtype))


def pack_with(name: str, values: Tensor, dtype: str) -> Tensor:
    out = torch.empty(len(values), row_bytes(dtype, values.shape[1]), dtype=torch.uint8)  # type: ignore[arg-type]
    assert kernels_of(name).pack(values, dtype, out) is None  # type: ignore[arg-type]
    return out
