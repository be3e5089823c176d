"""A quantized model in plain torch ops, in the order of operations of ``kernels/int8/fallback.py``.

Products of integers are computed as floats, in pieces whose sums are exact, since torch has no integer product that
supports every device and every batch size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.export.numbers import Chain, FloatLayer, Numbers
from dlrm_pl.kernels.int8.rows import TableDtype

_TINY = 1e-30
_EXACT_INPUTS = 512
"""Sums of this many products of a byte and a signed byte stay within 2^24, up to which float32 represents every
integer."""


class PlainDLRM(nn.Module):
    """A quantized model in plain ops, with the same inputs and outputs as ``onnx_model``.

    Args:
        numbers: numbers of the model. The packed tables are shared.
        bags: whether it takes bags of rows.
    """

    def __init__(self, numbers: Numbers, *, bags: bool) -> None:
        super().__init__()
        architecture = numbers.model.architecture
        self._architecture = architecture
        self._interaction = numbers.model.interaction
        self._bags = bags
        self._dtypes: tuple[TableDtype, ...] = numbers.model.tables.dtypes
        for index, table in enumerate(numbers.model.tables.all()):
            self.register_buffer(f"table_{index}", table)
        self.bottom = nn.ModuleList(_segment(segment) for segment in numbers.bottom)
        self.cross = nn.ModuleList(nn.Sequential(*map(_segment, layer)) for layer in numbers.cross)
        self.top = nn.ModuleList(_segment(segment) for segment in numbers.top)
        first = numbers.top[0]
        self._first = first if isinstance(first, Chain) else None
        count = architecture.num_tables + 1
        rows, columns = np.tril_indices(count, 0 if architecture.self_interaction else -1)
        for name, places in (("pair_rows", rows), ("pair_columns", columns), ("pair_places", rows * count + columns)):
            self.register_buffer(name, torch.from_numpy(places.astype(np.int64)))

    def forward(self, dense: Tensor, indices: Tensor, offsets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, float32 ``[B]``."""
        for segment in self.bottom:
            dense = segment(dense)
        lookups = list(indices.unbind(1)) if offsets is None else self._lists(dense.shape[0], indices, offsets)
        x = (self._integers if self._interaction == "int8" else self._floats)(dense, lookups, offsets)
        for segment in self.top:
            x = segment(x)
        logits = x.squeeze(1)
        threshold = self._architecture.loss_threshold
        if threshold > 0:
            bound = math.log((1 - threshold) / threshold)
            logits = logits.clamp(-bound, bound)
        return logits, torch.sigmoid(logits)

    def _lists(self, batch: int, indices: Tensor, offsets: Tensor) -> list[Tensor]:
        """Cut the lookups of bags by tables."""
        tables = self._architecture.num_tables
        sizes = offsets[torch.arange(tables + 1) * batch].diff().tolist()
        for size in sizes:
            torch._check(size >= 0)  # type: ignore[no-untyped-call]
        return list(torch.split(indices, sizes))

    def _starts(self, index: int, batch: int, offsets: Tensor) -> Tensor:
        """Return where the bags of a table begin among its lookups, and where the last one ends, ``[B + 1]``."""
        starts = offsets.narrow(0, index * batch, batch + 1)
        return starts - starts[0]

    def _unpacked(self, index: int, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return rows of a table: int8 values ``[n, D]`` and their scales ``[n, 1]``, or float values and None."""
        packed, dim, dtype = self.get_buffer(f"table_{index}")[rows], self._architecture.embedding_dim, None
        dtype = self._dtypes[index]
        if dtype == "int8":
            return packed[:, :dim].contiguous().view(torch.int8), packed[:, dim:].contiguous().view(torch.float32)
        if dtype == "int4":
            half = (dim + 1) // 2
            nibbles = torch.cat([packed[:, :half] & 15, packed[:, :half] >> 4], dim=1)[:, :dim].to(torch.int8)
            scale = packed[:, half : half + 2].contiguous().view(torch.bfloat16).float()
            return nibbles - packed[:, half + 2 : half + 3].to(torch.int8), scale
        return packed.float(), None

    def _vector(self, index: int, rows: Tensor, offsets: Tensor | None, batch: int) -> Tensor:
        values, scale = self._unpacked(index, rows)
        floats = values if scale is None else values.float() * scale
        if offsets is None:
            return floats
        starts = self._starts(index, batch, offsets)
        places = torch.arange(rows.shape[0])
        sums = F.embedding_bag(places, floats, starts, mode="sum", include_last_offset=True)
        if not self._architecture.is_mean[index]:
            return sums
        return sums / starts.diff().clamp_min(1).float()[:, None]

    def _integer_vector(self, index: int, rows: Tensor, offsets: Tensor | None, batch: int) -> tuple[Tensor, Tensor]:
        """Return int8 vectors ``[B, D]`` and their scales ``[B, 1]``."""
        if offsets is None:
            values, scale = self._unpacked(index, rows)
            return _quantized_vectors(values) if scale is None else (values, scale)
        quantized, own = _quantized_vectors(self._vector(index, rows, offsets, batch))
        if self._dtypes[index] not in ("int8", "int4"):
            return quantized, own
        starts = self._starts(index, batch, offsets)
        single = starts.diff() == 1
        # One more index, so that the first row of an empty bag at the end exists as well.
        padded = torch.cat([rows, rows.new_zeros(1)])
        values, scale = self._unpacked(index, padded[starts[:-1]])
        assert scale is not None
        return torch.where(single[:, None], values, quantized), torch.where(single[:, None], scale, own)

    def _integers(self, dense: Tensor, lookups: Sequence[Tensor], offsets: Tensor | None) -> Tensor:
        """Return the dense vector and the products of all pairs: bytes if an int8 layer follows."""
        vectors = [_quantized_vectors(dense)]
        vectors += [self._integer_vector(index, rows, offsets, dense.shape[0]) for index, rows in enumerate(lookups)]
        stacked = torch.stack([values for values, _ in vectors], dim=1)
        scale = torch.cat([scale for _, scale in vectors], dim=1)
        first = self._first
        row_scale = scale if first is None else scale * float(first.inverse)
        products = self._pairs_of(_integer_product(stacked, stacked))
        pairs = products * scale[:, self.get_buffer("pair_columns")] * row_scale[:, self.get_buffer("pair_rows")]
        if first is None:
            return torch.cat([dense, pairs], dim=1)
        own = _quantized(dense, first)
        return torch.cat([own, (pairs + first.input_zero_point).clamp(0.0, 255.0).round().to(torch.uint8)], dim=1)

    def _floats(self, dense: Tensor, lookups: Sequence[Tensor], offsets: Tensor | None) -> Tensor:
        vectors = [dense]
        vectors += [self._vector(index, rows, offsets, dense.shape[0]) for index, rows in enumerate(lookups)]
        if self._architecture.interaction in ("cat", "dcn"):
            return self._crossed(torch.cat(vectors, dim=1))
        stacked = torch.stack(vectors, dim=1)
        return torch.cat([dense, self._pairs_of(stacked @ stacked.mT)], dim=1)

    def _crossed(self, vectors: Tensor) -> Tensor:
        """Compute the cross layers, ``x0 * (W (V x) + b) + x`` each."""
        x = vectors
        for layer in self.cross:
            x = layer(x) * vectors + x
        return x

    def _pairs_of(self, products: Tensor) -> Tensor:
        return products.flatten(1)[:, self.get_buffer("pair_places")]


class PlainChain(nn.Module):
    """Consecutive int8 Linears.

    Args:
        chain: numbers of the Linears.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._chain = chain
        for index, layer in enumerate(chain.layers):
            for name in ("weight", "multiplier", "bias"):
                self.register_buffer(f"{name}_{index}", torch.from_numpy(getattr(layer, name)).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layers: floats or bytes ``[B, in]`` -> floats ``[B, out]``."""
        if x.dtype != torch.uint8:
            x = _quantized(x, self._chain)
        last = len(self._chain.layers) - 1
        for index, layer in enumerate(self._chain.layers):
            weight, multiplier, bias = (self.get_buffer(f"{name}_{index}") for name in ("weight", "multiplier", "bias"))
            values = _integer_product(x, weight) * multiplier + bias
            if index < last:
                x = values.clamp(layer.lowest, 255.0).round().to(torch.uint8)
            else:
                x = values if layer.lowest == -math.inf else values.clamp_min(layer.lowest)
        return x


class PlainLinear(nn.Module):
    """An fp32 Linear.

    Args:
        layer: numbers of the Linear.
    """

    def __init__(self, layer: FloatLayer) -> None:
        super().__init__()
        self._relu = layer.relu
        self.register_buffer("weight", torch.from_numpy(layer.weight).clone())
        self.register_buffer("bias", torch.from_numpy(layer.bias).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer."""
        x = F.linear(x, self.get_buffer("weight"), self.get_buffer("bias"))
        return F.relu(x) if self._relu else x


def _segment(numbers: Chain | FloatLayer) -> nn.Module:
    return PlainChain(numbers) if isinstance(numbers, Chain) else PlainLinear(numbers)


def _integer_product(x: Tensor, weight: Tensor) -> Tensor:
    """Return ``x @ weight.T`` of integers as floats, rounded once."""
    parts = [
        x[..., start : start + _EXACT_INPUTS].float() @ weight[..., start : start + _EXACT_INPUTS].float().mT
        for start in range(0, weight.shape[-1], _EXACT_INPUTS)
    ]
    if len(parts) == 1:
        return parts[0]
    total = parts[0].int()
    for part in parts[1:]:
        total = total + part.int()
    return total.float()


def _quantized(x: Tensor, chain: Chain) -> Tensor:
    return (x * float(chain.inverse) + float(chain.input_zero_point)).clamp(0.0, 255.0).round().to(torch.uint8)


def _quantized_vectors(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return float rows ``[B, D]`` as symmetric int8 and the scale of each, ``[B, 1]``."""
    largest = x.abs().amax(dim=1, keepdim=True)
    # Divide tensors: torch divides a number by a tensor as the number times the reciprocal, which rounds twice.
    steps = torch.full_like(largest, 127.0)
    some = largest > _TINY
    inverse, scale = torch.where(some, steps / largest, 0.0), torch.where(some, largest / steps, 0.0)
    return (x * inverse).nan_to_num(0.0).round().to(torch.int8), scale
