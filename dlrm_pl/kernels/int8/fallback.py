"""The kernels in plain torch, for installs without a C++ compiler and as reference for the native ones. Slow.

The op of the same name in ``ops`` describes each method. Integers are summed as floats in pieces small enough to be
exact, since torch has no fast integer product on every processor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.batch import bags_of_tables
from dlrm_pl.kernels.int8.failure import BETWEEN_LAYERS, Failure
from dlrm_pl.kernels.int8.rows import BF16_DEPTH, BF16_TINY, BLOCK_OUT, TABLE_DTYPES, TableDtype

# Sums of this many products of a byte and a signed byte, or of two signed bytes, stay within 2^24, up to which float32
# holds every integer.
_EXACT_INPUTS = 512
_TINY = 1e-30


class FallbackKernels:
    """All kernels, computed with torch ops on plain tensors."""

    isa = "fallback"

    def mlp(
        self,
        x: Tensor,
        input_scales: Sequence[float],
        input_zero_points: Sequence[int],
        weights: Sequence[Tensor],
        multipliers: Sequence[Tensor],
        biases: Sequence[Tensor],
        widths: Sequence[int],
        lowest: Sequence[float],
        out: Tensor,
    ) -> Failure | None:
        """Run a chain of int8 and bf16 Linears."""
        if x.dtype == torch.float32:
            finite = torch.isfinite(x if weights[0].dtype == torch.int8 else x.bfloat16())
            bad = finite.logical_not().nonzero()
            if len(bad):
                return Failure("not finite", int(bad[0, 0]), int(bad[0, 1]), 0)
        last = len(weights) - 1
        for index, (packed, multiplier, bias, width, low) in enumerate(
            zip(weights, multipliers, biases, widths[1:], lowest, strict=True)
        ):
            is_int8, from_floats = packed.dtype == torch.int8, x.dtype == torch.float32
            if is_int8 and from_floats:
                x = _quantize(x, input_scales[index], input_zero_points[index])
            values = (_linear if is_int8 else _bf16_linear)(x, packed, multiplier, bias)
            if is_int8 and index < last and weights[index + 1].dtype == torch.int8:
                x = values.clamp(low, 255.0).round().to(torch.uint8)
                continue
            values = values[:, :width].clamp_min(low) if is_int8 else values[:, :width].bfloat16().float()
            if not is_int8 or index < last:
                bad = torch.isfinite(values.bfloat16()).all(dim=1).logical_not().nonzero()
                if len(bad):
                    return Failure("not finite", int(bad[0, 0]), BETWEEN_LAYERS, index)
            x = values.clamp_min(low)
        out.copy_(x)
        return None

    def cross(
        self,
        dense: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        tables: Sequence[Tensor],
        dtypes: Sequence[int],
        input_scales: Sequence[float],
        input_zero_points: Sequence[int],
        weights: Sequence[Tensor],
        multipliers: Sequence[Tensor],
        biases: Sequence[Tensor],
        rank: int,
        output_scale: float,
        output_zero_point: int,
        is_mean: Sequence[bool],
        out: Tensor,
    ) -> Failure | None:
        """Look up all tables and run the cross network on the concatenated vectors."""
        batch, dim = dense.shape
        pooled = dense.new_empty(batch, len(tables), dim)
        failure = self.pooling(indices, offsets, tables, dtypes, is_mean, pooled)
        if failure is not None:
            return failure
        first = x = torch.cat([dense, pooled.flatten(1)], dim=1)
        width = first.shape[1]
        for layer, (scale, zero_point) in enumerate(zip(input_scales, input_zero_points, strict=True)):
            v, w = 2 * layer, 2 * layer + 1
            inner = _linear(_quantize(x, scale, zero_point), weights[v], multipliers[v], biases[v])
            between = inner.clamp(0.0, 255.0).round().to(torch.uint8)[:, :rank]
            x = first * _linear(between, weights[w], multipliers[w], biases[w])[:, :width] + x
        bad = torch.isfinite(x).all(dim=1).logical_not().nonzero()
        if len(bad):
            return Failure("not finite", int(bad[0, 0]), -2, 0)
        if out.dtype == torch.float32:
            out.copy_(x)
        else:
            out.zero_()
            out[:, :width] = _quantize(x, output_scale, output_zero_point)
        return None

    def interaction(
        self,
        dense: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        tables: Sequence[Tensor],
        dtypes: Sequence[int],
        diagonal: bool,
        output_scale: float,
        output_zero_point: int,
        width: int,
        is_mean: Sequence[bool],
        out: Tensor,
    ) -> Failure | None:
        """Look up all tables and compute all pairwise dot products."""
        batch, dim = dense.shape
        bad = torch.isfinite(dense).all(dim=1).logical_not().nonzero()
        if len(bad):
            return Failure("not finite", int(bad[0, 0]), -1, 0)
        failure = _check_lookups(indices, offsets, tables, batch)
        if failure is not None:
            return failure
        vectors, scales = [], []
        for table, (rows, starts) in enumerate(_bags(indices, offsets, len(tables), batch)):
            values, scale = _unpack(tables[table], dtypes[table], rows, dim)
            sums = _pool(values.float() * scale[:, None], starts, batch, bool(is_mean) and is_mean[table])
            quantized, own = _quantize_vectors(sums)
            finite = torch.isfinite(sums).all(dim=1)
            if TABLE_DTYPES[dtypes[table]] in ("int8", "int4"):
                single = starts.diff() == 1
                first = starts[:-1][single]
                quantized[single], own[single] = values[first], scale[first]
                finite[single] = torch.isfinite(scale[first])
            if not bool(finite.all()):
                return Failure("not finite", int(finite.logical_not().nonzero()[0]), table, 0)
            vectors.append(quantized)
            scales.append(own)
        first_vector, first_scale = _quantize_vectors(dense)
        stacked = torch.stack([first_vector, *vectors], dim=1)
        scale = torch.stack([first_scale, *scales], dim=1)
        products = _integer_product(stacked, stacked).float()
        rows_, columns = torch.tril_indices(stacked.shape[1], stacked.shape[1], offset=0 if diagonal else -1)
        floats = out.dtype == torch.float32
        row_scale = scale if floats else scale * torch.tensor(1.0 / output_scale)
        pairs = products[:, rows_, columns] * scale[:, columns] * row_scale[:, rows_]
        if floats:
            out.copy_(torch.cat([dense, pairs], dim=1))
            return None
        out.zero_()
        out[:, :dim] = _quantize(dense, output_scale, output_zero_point)
        out[:, dim:width] = (pairs + output_zero_point).clamp(0.0, 255.0).round().to(torch.uint8)
        return None

    def pooling(
        self,
        indices: Tensor,
        offsets: Tensor | None,
        tables: Sequence[Tensor],
        dtypes: Sequence[int],
        is_mean: Sequence[bool],
        out: Tensor,
    ) -> Failure | None:
        """Sum or average the rows of each bag in float32."""
        batch, _, dim = out.shape
        failure = _check_lookups(indices, offsets, tables, batch)
        if failure is not None:
            return failure
        for table, (rows, starts) in enumerate(_bags(indices, offsets, len(tables), batch)):
            values, scale = _unpack(tables[table], dtypes[table], rows, dim)
            mean = bool(is_mean) and is_mean[table]
            out[:, table] = _pool(values.float() * scale[:, None], starts, batch, mean)
        return None

    def pack(self, values: Tensor, dtype: TableDtype, out: Tensor) -> Failure | None:
        """Pack float rows as int8 or int4."""
        bad = torch.isfinite(values).all(dim=1).logical_not().nonzero()
        if len(bad):
            return Failure("not finite", int(bad[0]), 0, 0)
        dim = values.shape[1]
        if dtype == "int8":
            quantized, scale = _quantize_vectors(values)
            out[:, :dim] = quantized.view(torch.uint8)
            out[:, dim:] = scale[:, None].view(torch.uint8)
            return None
        half = (dim + 1) // 2
        low, high = values.amin(dim=1).clamp_max(0.0), values.amax(dim=1).clamp_min(0.0)
        bits = ((high - low) / torch.full_like(high, 15.0)).view(torch.int32)
        scale = ((bits + 0xFFFF) & ~0xFFFF).view(torch.float32)
        inverse = torch.where(scale > _TINY, scale.reciprocal(), 0.0)
        zero = (-low * inverse).clamp(0.0, 15.0).round()
        nibbles = ((values * inverse[:, None]).round() + zero[:, None]).clamp(0.0, 15.0).to(torch.uint8)
        out.zero_()
        out[:, :half] = nibbles[:, :half]
        out[:, : dim - half] |= nibbles[:, half:] << 4
        kept = torch.where(scale > _TINY, scale, 0.0).bfloat16()
        out[:, half : half + 2] = kept[:, None].view(torch.uint8)
        out[:, half + 2] = zero.to(torch.uint8)
        return None


def unpack_weight(packed: Tensor) -> Tensor:
    """Convert the blocks of ``pack_weight`` to ``[out, in]``, both padded."""
    blocks, depths, lines, width = packed.shape
    some = width // BLOCK_OUT
    return (
        packed.view(blocks, depths, lines, BLOCK_OUT, some)
        .permute(0, 3, 1, 2, 4)
        .reshape(blocks * BLOCK_OUT, depths * lines * some)
    )


def _integer_product(x: Tensor, weight: Tensor) -> Tensor:
    """Exact int32 ``x @ weight.T`` of bytes and int8, for one matrix or a batch of them."""
    total = torch.zeros(*x.shape[:-1], weight.shape[-2], dtype=torch.int32)
    for start in range(0, x.shape[-1], _EXACT_INPUTS):
        part = slice(start, start + _EXACT_INPUTS)
        total += (x[..., part].float() @ weight[..., part].float().mT).int()
    return total


def _linear(x: Tensor, packed: Tensor, multiplier: Tensor, bias: Tensor) -> Tensor:
    """Output of an int8 Linear before it is clamped, float32 ``[B, padded out]``."""
    weight = unpack_weight(packed)
    padded = x.new_zeros(x.shape[0], weight.shape[1])
    padded[:, : x.shape[1]] = x[:, : weight.shape[1]]
    return _integer_product(padded, weight).float() * multiplier + bias


def _bf16_linear(x: Tensor, packed: Tensor, multiplier: Tensor, bias: Tensor) -> Tensor:
    """Output of a bf16 Linear before it is rounded and clamped, float32 ``[B, padded out]``. It has no multiplier.

    Rounding a product and a sum once gives the same result if they are first rounded to double precision, in which
    products are exact.
    """
    weight = unpack_weight(packed).double()
    inputs = x.new_zeros(x.shape[0], weight.shape[1], dtype=torch.float64)
    rounded = x.bfloat16().double()
    inputs[:, : x.shape[1]] = torch.where(rounded.abs() < BF16_TINY, 0.0, rounded)
    total = torch.zeros(x.shape[0], weight.shape[0])
    for start in range(0, weight.shape[1], BF16_DEPTH):
        sums = torch.zeros(2, x.shape[0], weight.shape[0])
        for place in range(start, start + BF16_DEPTH):
            product = inputs[:, place, None] * weight[:, place]
            sums[place % 2] = (product + sums[place % 2]).float()
        total += sums[0] + sums[1]
    return total + bias


def _quantize(x: Tensor, scale: float, zero_point: int) -> Tensor:
    # The product and the sum are rounded one after the other, as in the kernels.
    return (x * torch.tensor(1.0 / scale)).add_(float(zero_point)).clamp_(0.0, 255.0).round_().to(torch.uint8)


def _quantize_vectors(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize rows to symmetric int8, each with a scale of its own."""
    largest = x.abs().amax(dim=1)
    # Divide tensors: torch divides a number by a tensor as the number times the reciprocal, which rounds twice.
    steps = torch.full_like(largest, 127.0)
    inverse = torch.where(largest > _TINY, steps / largest, 0.0)
    scale = torch.where(largest > _TINY, largest / steps, 0.0)
    return (x * inverse[:, None]).nan_to_num(0.0).round().to(torch.int8), scale


def _unpack(table: Tensor, dtype: int, rows: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Unpack rows into values ``[L, D]`` and a scale for each row; the scale of float rows is 1."""
    packed = table[rows]
    name = TABLE_DTYPES[dtype]
    if name == "int8":
        return packed[:, :dim].view(torch.int8), packed[:, dim:].flatten().clone().view(torch.float32)
    if name == "int4":
        half = (dim + 1) // 2
        nibbles = torch.cat([packed[:, :half] & 15, packed[:, :half] >> 4], dim=1)[:, :dim].to(torch.int8)
        scale = packed[:, half : half + 2].flatten().clone().view(torch.bfloat16).float()
        return nibbles - packed[:, half + 2 : half + 3].to(torch.int8), scale
    return packed, torch.ones(len(packed))


def _pool(values: Tensor, starts: Tensor, batch: int, mean: bool) -> Tensor:
    """Sum the rows of each bag from first to last, so that sums round as in the kernels, and average if asked to."""
    sums = values.new_zeros(batch, values.shape[1])
    sizes = starts.diff()
    for step in range(int(sizes.max()) if batch else 0):
        has = sizes > step
        sums[has] += values[starts[:-1][has] + step]
    return sums / sizes.clamp_min(1).float()[:, None] if mean else sums


def _bags(indices: Tensor, offsets: Tensor | None, count: int, batch: int) -> list[tuple[Tensor, Tensor]]:
    """For each table its looked-up rows, and the start of each bag, followed by the end of the last."""
    if offsets is None:
        starts = torch.arange(batch + 1)
        return [(rows, starts) for rows in indices]
    return bags_of_tables(indices, offsets, count)


def _check_lookups(indices: Tensor, offsets: Tensor | None, tables: Sequence[Tensor], batch: int) -> Failure | None:
    """Failure of the first sample that has one, as the kernels report it."""
    if offsets is not None:
        wrong = (offsets[1:] < offsets[:-1]) | (offsets[:-1] < 0) | (offsets[1:] > indices.numel())
        if bool(wrong.any()):
            place = int(wrong.nonzero()[0])
            return Failure("offset", place % batch, place // batch, int(offsets[place + 1]))
    found: Failure | None = None
    for table, (rows, starts) in enumerate(_bags(indices, offsets, len(tables), batch)):
        wrong = (rows < 0) | (rows >= tables[table].shape[0])
        if bool(wrong.any()):
            place = int(wrong.nonzero()[0])
            sample = int(torch.searchsorted(starts, place, right=True)) - 1
            if found is None or sample < found.sample:
                found = Failure("index", sample, table, int(rows[place]))
    return found
