"""The kernels as torch ops, registered with ``torch.library`` together with fakes for tracers.

Shapes and types are checked here. The kernels check the contents and report an index outside its table, or NaN, with
sample, table and value.
"""

from __future__ import annotations

# torch.library has no type annotations.
# mypy: disable-error-code="no-untyped-call"
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.errors import NonFiniteError, ShapeError
from dlrm_pl.kernels.int8.checks import (
    check_layer,
    check_scale,
    checked_lookups,
    interaction_width,
    raise_failure,
)
from dlrm_pl.kernels.int8.rows import (
    BF16_DEPTH,
    BF16_TINY,
    BLOCK_IN,
    BLOCK_OUT,
    MAX_DIM,
    MAX_INPUTS,
    MAX_TABLES,
    TABLE_DTYPES,
    TableDtype,
    round_up,
    row_bytes,
)
from dlrm_pl.kernels.int8.selection import kernels

_LIBRARY = torch.library.Library("dlrm_pl", "DEF")
_LIBRARY.define(
    "quantized_mlp(Tensor x, float[] input_scales, int[] input_zero_points, Tensor[] weights, Tensor[] multipliers, "
    "Tensor[] biases, int[] widths, float[] lowest) -> Tensor"
)
_LIBRARY.define(
    "lookup_interaction(Tensor dense, Tensor indices, Tensor? offsets, Tensor[] tables, int[] dtypes, bool diagonal, "
    "float? output_scale, int output_zero_point, bool[] is_mean=[]) -> Tensor"
)
_LIBRARY.define(
    "lookup(Tensor indices, Tensor? offsets, Tensor[] tables, int[] dtypes, int dim, int batch, bool[] is_mean=[]) "
    "-> Tensor"
)
_LIBRARY.define(
    "lookup_cross(Tensor dense, Tensor indices, Tensor? offsets, Tensor[] tables, int[] dtypes, float[] input_scales, "
    "int[] input_zero_points, Tensor[] weights, Tensor[] multipliers, Tensor[] biases, int rank, float? output_scale, "
    "int output_zero_point, bool[] is_mean=[]) -> Tensor"
)
_LIBRARY.define("pack_rows(Tensor values, int dtype) -> Tensor")

QUANTIZED_MLP = "dlrm_pl::quantized_mlp"
LOOKUP_INTERACTION = "dlrm_pl::lookup_interaction"
LOOKUP = "dlrm_pl::lookup"
LOOKUP_CROSS = "dlrm_pl::lookup_cross"


def pack_weight(weight: Tensor) -> Tensor:
    """Rearrange a weight ``[out, in]`` into the kernels' blocks, padded with zeros.

    Returns:
        ``[out / 16, in / 64, 16, 64]`` of int8; or ``[out / 16, in / 32, 16, 32]`` of bfloat16, with ``in`` padded to a
        multiple of 64 and numbers below ``BF16_TINY`` as 0.
    """
    outs, ins = round_up(weight.shape[0], BLOCK_OUT), round_up(weight.shape[1], BLOCK_IN)
    padded = weight.new_zeros(outs, ins)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    if weight.dtype == torch.bfloat16:
        padded[padded.abs() < BF16_TINY] = 0
    # A line of a block has a few inputs of each output, in 32 bits.
    depth, some = (BF16_DEPTH, 2) if weight.dtype == torch.bfloat16 else (BLOCK_IN, 4)
    blocks = padded.view(outs // BLOCK_OUT, BLOCK_OUT, ins // depth, depth // some, some).permute(0, 2, 3, 1, 4)
    return blocks.reshape(outs // BLOCK_OUT, ins // depth, depth // some, some * BLOCK_OUT)


def quantized_mlp(
    x: Tensor,
    input_scales: Sequence[float],
    input_zero_points: Sequence[int],
    weights: Sequence[Tensor],
    multipliers: Sequence[Tensor],
    biases: Sequence[Tensor],
    widths: Sequence[int],
    lowest: Sequence[float],
) -> Tensor:
    """Run a chain of int8 and bf16 Linears, with the same bits on every processor.

    An int8 layer sums ``x * w`` in 32 bits, multiplies by ``multiplier``, adds ``bias`` and clamps the result to at
    least ``lowest``. In front of another int8 layer it also clamps it to 255 and rounds it half to even; that is the
    next layer's input. A bf16 layer rounds the floats that it is given, sums ``x * w`` in the order that ``Bf16Sums``
    in ``types.h`` states, adds ``bias``, rounds to bfloat16 and clamps.

    Args:
        x: float32 ``[B, widths[0]]``; or, in front of an int8 layer, uint8 ``[B, stride]`` of at least the padded
            inputs.
        input_scales: for each layer the step of the bytes that an int8 layer turns floats into, those of ``x`` or of a
            bf16 layer: ``round(x / input_scale + input_zero_point)``, clamped to 0 to 255; not used for others.
        input_zero_points: for each layer the byte that stands for 0 in them.
        weights: weights of each layer as ``pack_weight`` returns them, which say whether it is int8 or bf16. Those of
            padding are 0, and may not be read.
        multipliers: float32, one for each output of an int8 layer, padded with zeros to a multiple of 16; empty of a
            bf16 layer.
        biases: float32, one for each output, padded likewise.
        widths: number of inputs that the first layer's weights were packed for, then number of outputs of each layer.
        lowest: least value of each layer's output; -inf for no bound.

    Returns:
        float32 ``[B, widths[-1]]``.

    Raises:
        NonFiniteError: a float ``x`` has NaN or infinity, or a number that is infinite as bfloat16 and read by a bf16
            layer; names sample and feature. Or an output of a bf16 layer, or one that it reads, is infinite; names
            sample and layer.
        ShapeError: the tensors do not fit together.
    """
    if x.dim() != 2 or x.dtype not in (torch.float32, torch.uint8):
        raise ShapeError(f"An MLP takes float32 or uint8 [B, in], got {x.dtype} {list(x.shape)}.")
    layers = (input_scales, input_zero_points, weights, multipliers, biases, widths[1:], lowest)
    lengths = [len(each) for each in layers]
    if not weights or not widths or len(set(lengths)) > 1:
        raise ShapeError(
            "An MLP needs scales, zero points, weights, multipliers, biases, widths and least values for each of its "
            f"layers, got {lengths} of them."
        )
    inputs, outputs = widths[0], widths[1:]
    types = [weight.dtype for weight in weights]
    if x.dtype == torch.float32:
        if x.shape[1] != inputs:
            raise ShapeError(f"The weights of the MLP were packed for {inputs} inputs, got {list(x.shape)}.")
    elif types[0] != torch.int8:
        raise ShapeError(f"A bf16 Linear takes float32 [B, in], got {x.dtype} {list(x.shape)}.")
    elif x.shape[1] < round_up(inputs, BLOCK_IN):
        raise ShapeError(f"uint8 inputs must be padded to {round_up(inputs, BLOCK_IN)}, got {list(x.shape)}.")
    last = len(weights) - 1
    for index, (weight, multiplier, bias, width) in enumerate(zip(weights, multipliers, biases, outputs, strict=True)):
        if not 1 <= inputs <= MAX_INPUTS or width < 1:
            raise ShapeError(
                f"layer {index}: an int8 or bf16 Linear takes 1 to {MAX_INPUTS} inputs and has at least one output, "
                f"got {inputs} and {width}."
            )
        gives_bytes = index < last and types[index] == types[index + 1] == torch.int8
        if not 0 <= lowest[index] <= 255 and (gives_bytes or math.isnan(lowest[index])):
            raise ShapeError(
                f"layer {index}: the least value of its output must be from 0 to 255, got {lowest[index]}."
            )
        reads_floats = x.dtype == torch.float32 if index == 0 else types[index - 1] != torch.int8
        if types[index] == torch.int8 and reads_floats:
            check_scale(input_scales[index], input_zero_points[index])
        check_layer(f"layer {index}", inputs, width, weight, multiplier, bias)
        inputs = width
    out = torch.empty(x.shape[0], widths[-1])
    raise_failure(kernels().mlp(x.contiguous(), *layers[:5], widths, lowest, out))
    return out


def lookup_interaction(
    dense: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    diagonal: bool,
    output_scale: float | None,
    output_zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    """Look up all tables and take every pairwise dot product in integers.

    Rows of int8 and int4 tables are used as they are stored. The dense vector, a row of another table, and the sum or
    mean of a bag of several rows are quantized to symmetric int8, each with its largest magnitude over 127 as the
    scale.

    Args:
        dense: float32 ``[B, D]``.
        indices: int64 ``[T, B]`` one-hot, of which only the rows must be contiguous, or ``[L]`` with offsets.
        offsets: None, or int64 ``[T * B + 1]``.
        tables: packed rows of each table, see ``row_bytes``.
        dtypes: dtype of each table as its position in ``TABLE_DTYPES``.
        diagonal: include the product of each vector with itself.
        output_scale: step of a uint8 result; None for a float32 result.
        output_zero_point: byte that stands for 0 in a uint8 result.
        is_mean: whether the bags of each table are averaged; empty: all are summed.

    Returns:
        The dense vector and the products in the order (1,0), (2,0), (2,1), ...: float32 ``[B, width]``, or uint8
        padded with zeros to a multiple of 64.

    Raises:
        LookupIndexError: an index outside its table, or offsets that are not in order; names sample and table.
        NonFiniteError: the dense vector, a sum or a mean is NaN or infinite; names the sample.
        ShapeError: the tensors do not fit together.
    """
    if dense.dim() != 2 or dense.dtype != torch.float32:
        raise ShapeError(f"The interaction takes a float32 dense vector [B, D], got {dense.dtype} {list(dense.shape)}.")
    batch, dim = dense.shape
    if not len(tables) <= MAX_TABLES or not 1 <= dim <= MAX_DIM:
        raise ShapeError(
            f"The int8 interaction takes up to {MAX_TABLES} tables of up to {MAX_DIM} values a row, got {len(tables)} "
            f"of {dim}. Choose interaction: fp32 in the recipe."
        )
    if output_scale is not None:
        check_scale(output_scale, output_zero_point)
    indices, offsets = checked_lookups(indices, offsets, tables, dtypes, is_mean, dim, batch)
    width = interaction_width(len(tables), dim, diagonal)
    if output_scale is None:
        out, scale = torch.empty(batch, width), 1.0
    else:
        out, scale = torch.empty(batch, round_up(width, BLOCK_IN), dtype=torch.uint8), output_scale
    raise_failure(
        kernels().interaction(
            dense.contiguous(),
            indices,
            offsets,
            tables,
            dtypes,
            diagonal,
            scale,
            output_zero_point,
            width,
            is_mean,
            out,
        ),
        tables,
    )
    return out


def lookup_cross(
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
    output_scale: float | None,
    output_zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    """Look up all tables and run a cross network of int8 Linears on the vectors side by side.

    Each layer computes ``x = x0 * (W (V x) + b) + x`` with float32 ``x``, which begins as ``x0``: the dense vector,
    then the sum of each bag. V reads ``x`` as bytes and gives bytes, as a layer of ``quantized_mlp`` does; W gives
    floats.

    Args:
        dense: float32 ``[B, D]``.
        indices: as in ``lookup``.
        offsets: as in ``lookup``.
        tables: packed rows of each table.
        dtypes: dtype of each table as its position in ``TABLE_DTYPES``.
        input_scales: for each layer, the step of the bytes that V reads.
        input_zero_points: for each layer, the byte that stands for 0.
        weights: V and W of the first layer, then of the second, and so on, as ``pack_weight`` returns them.
        multipliers: float32, one for each output, padded with zeros to a multiple of 16, likewise.
        biases: float32, padded as the multipliers.
        rank: number of outputs of every V.
        output_scale: step of a uint8 result; None for a float32 result.
        output_zero_point: byte that stands for 0 in a uint8 result.
        is_mean: whether the bags of each table are averaged; empty: all are summed.

    Returns:
        float32 ``[B, (T + 1) * D]``, or uint8 padded with zeros to a multiple of 64.

    Raises:
        LookupIndexError: an index outside its table, or offsets that are not in order; names sample and table.
        NonFiniteError: the result is NaN or infinite; names the sample.
        ShapeError: the tensors do not fit together.
    """
    if dense.dim() != 2 or dense.dtype != torch.float32:
        raise ShapeError(f"A cross network takes a float32 dense vector [B, D], got {dense.dtype} {list(dense.shape)}.")
    batch, dim = dense.shape
    width, count = (len(tables) + 1) * dim, len(input_scales)
    lengths = [len(input_zero_points), len(weights) / 2, len(multipliers) / 2, len(biases) / 2]
    if not count or set(lengths) != {count}:
        raise ShapeError(
            f"{count} cross layers need zero points of their input, and weights, multipliers and biases of V and W "
            f"each, got {len(input_zero_points)}, {len(weights)}, {len(multipliers)} and {len(biases)}."
        )
    if not 1 <= width <= MAX_INPUTS or not 1 <= rank <= MAX_INPUTS:
        raise ShapeError(
            f"A cross layer takes 1 to {MAX_INPUTS:,} values, and has a rank of as many at most, got {width:,} values, "
            f"of {len(tables)} tables and the dense vector, and rank {rank:,}."
        )
    for scale, zero_point in zip(input_scales, input_zero_points, strict=True):
        check_scale(scale, zero_point)
    if output_scale is not None:
        check_scale(output_scale, output_zero_point)
    for index, (weight, multiplier, bias) in enumerate(zip(weights, multipliers, biases, strict=True)):
        inputs, outputs = (rank, width) if index % 2 else (width, rank)
        check_layer(f"{'vw'[index % 2]} of cross layer {index // 2}", inputs, outputs, weight, multiplier, bias)
    indices, offsets = checked_lookups(indices, offsets, tables, dtypes, is_mean, dim, batch)
    if output_scale is None:
        out, output_step = torch.empty(batch, width), 1.0
    else:
        out, output_step = torch.empty(batch, round_up(width, BLOCK_IN), dtype=torch.uint8), output_scale
    raise_failure(
        kernels().cross(
            dense.contiguous(),
            indices,
            offsets,
            tables,
            dtypes,
            input_scales,
            input_zero_points,
            weights,
            multipliers,
            biases,
            rank,
            output_step,
            output_zero_point,
            is_mean,
            out,
        ),
        tables,
    )
    return out


def lookup(
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    dim: int,
    batch: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    """Look up all tables and sum or average each bag, in float32.

    Args:
        indices: int64 ``[T, B]`` one-hot, of which only the rows must be contiguous, or ``[L]`` with offsets.
        offsets: None, or int64 ``[T * B + 1]``.
        tables: packed rows of each table, see ``row_bytes``.
        dtypes: dtype of each table as its position in ``TABLE_DTYPES``.
        dim: embedding dimension D.
        batch: number of samples B.
        is_mean: whether the bags of each table are averaged; empty: all are summed.

    Returns:
        float32 ``[B, T, D]``; an empty bag gives zeros.

    Raises:
        LookupIndexError: an index outside its table, or offsets that are not in order; names sample and table.
        ShapeError: the tensors do not fit together.
    """
    if dim < 1 or batch < 0:
        raise ShapeError(f"A lookup needs rows of at least one value and a batch of at least 0, got {dim} and {batch}.")
    indices, offsets = checked_lookups(indices, offsets, tables, dtypes, is_mean, dim, batch)
    out = torch.empty(batch, len(tables), dim)
    raise_failure(kernels().pooling(indices, offsets, tables, dtypes, is_mean, out), tables)
    return out


def pack_rows(values: Tensor, dtype: int) -> Tensor:
    """Pack float32 ``[rows, D]`` as int8 or int4: uint8 ``[rows, row_bytes]``.

    Raises:
        NonFiniteError: a row holds NaN or infinity; names it.
        ShapeError: the values have another shape, or the dtype has no packed form.
    """
    if values.dim() != 2 or dtype not in (0, 1):
        raise ShapeError(
            f"Rows [rows, D] are packed as dtype 0, int8, or 1, int4, got {list(values.shape)} and {dtype}."
        )
    name = TABLE_DTYPES[dtype]
    out = torch.empty(values.shape[0], row_bytes(name, values.shape[1]), dtype=torch.uint8)
    row = pack_rows_into(values, name, out)
    if row is not None:
        raise NonFiniteError(f"row {row} holds NaN or infinity and cannot be packed as {name}.")
    return out


def pack_rows_into(values: Tensor, dtype: TableDtype, out: Tensor) -> int | None:
    """Pack rows into given memory, of a file or a part of a table; returns the first row that is not finite."""
    packable = dtype in ("int8", "int4") and values.dim() == 2 and values.shape[1] > 0
    wanted = (values.shape[0], row_bytes(dtype, values.shape[1])) if packable else ()
    fits = packable and values.dtype == torch.float32 and out.dtype == torch.uint8
    if not fits or out.shape != wanted or not out.is_contiguous():
        raise ShapeError(
            f"Float32 rows {list(values.shape)} are packed as {dtype} into contiguous uint8 {list(wanted)}, got "
            f"{values.dtype} and {out.dtype} {list(out.shape)}."
        )
    failure = kernels().pack(values.contiguous(), dtype, out)
    return None if failure is None else failure.sample


def _fake_mlp(
    x: Tensor,
    input_scales: Sequence[float],
    input_zero_points: Sequence[int],
    weights: Sequence[Tensor],
    multipliers: Sequence[Tensor],
    biases: Sequence[Tensor],
    widths: Sequence[int],
    lowest: Sequence[float],
) -> Tensor:
    return x.new_empty(x.shape[0], widths[-1], dtype=torch.float32)


def _fake_interaction(
    dense: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    diagonal: bool,
    output_scale: float | None,
    output_zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    width = interaction_width(len(tables), dense.shape[1], diagonal)
    if output_scale is None:
        return dense.new_empty(dense.shape[0], width)
    return dense.new_empty(dense.shape[0], round_up(width, BLOCK_IN), dtype=torch.uint8)


def _fake_cross(
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
    output_scale: float | None,
    output_zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    width = (len(tables) + 1) * dense.shape[1]
    if output_scale is None:
        return dense.new_empty(dense.shape[0], width)
    return dense.new_empty(dense.shape[0], round_up(width, BLOCK_IN), dtype=torch.uint8)


def _fake_lookup(
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    dim: int,
    batch: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    return indices.new_empty(batch, len(tables), dim, dtype=torch.float32)


def _fake_pack(values: Tensor, dtype: int) -> Tensor:
    return values.new_empty(values.shape[0], row_bytes(TABLE_DTYPES[dtype], values.shape[1]), dtype=torch.uint8)


for _name, _function, _fake in (
    ("quantized_mlp", quantized_mlp, _fake_mlp),
    ("lookup_interaction", lookup_interaction, _fake_interaction),
    ("lookup", lookup, _fake_lookup),
    ("lookup_cross", lookup_cross, _fake_cross),
    ("pack_rows", pack_rows, _fake_pack),
):
    _LIBRARY.impl(_name, _function, "CPU")
    torch.library.register_fake(f"dlrm_pl::{_name}", _fake, lib=_LIBRARY)
