"""Check the ops' arguments before a kernel sees them; and make the errors for what a kernel finds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.errors import LookupIndexError, NonFiniteError, ShapeError
from dlrm_pl.kernels.int8.failure import BETWEEN_LAYERS, Failure
from dlrm_pl.kernels.int8.rows import BF16_DEPTH, BLOCK_IN, BLOCK_OUT, TABLE_DTYPES, round_up, row_bytes

# Type of the tensor that holds the rows of each of TABLE_DTYPES.
_STORAGE = (torch.uint8, torch.uint8, torch.float16, torch.float32)


_CROSSED = -2
"""Marks a non-finite value that comes from a cross network."""


def checked_lookups(
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    is_mean: Sequence[bool],
    dim: int,
    batch: int,
) -> tuple[Tensor, Tensor | None]:
    """Check indices, offsets and tables; return indices with contiguous rows, and contiguous offsets."""
    count = len(tables)
    if indices.dtype != torch.int64 or (offsets is not None and offsets.dtype != torch.int64):
        got = indices.dtype if offsets is None else f"{indices.dtype} and {offsets.dtype}"
        raise ShapeError(f"Indices and offsets must be int64, got {got}.")
    if len(dtypes) != count or not set(dtypes) <= set(range(len(TABLE_DTYPES))):
        raise ShapeError(f"{count} tables need one dtype each, from 0 to {len(TABLE_DTYPES) - 1}, got {list(dtypes)}.")
    if is_mean and len(is_mean) != count:
        raise ShapeError(f"{count} tables need one flag each for averaging, or no flags at all, got {len(is_mean)}.")
    if offsets is None and tuple(indices.shape) != (count, batch):
        raise ShapeError(
            f"{count} tables need indices of shape [T, B] = [{count}, {batch}], got {list(indices.shape)}."
        )
    if offsets is not None and (indices.dim() != 1 or tuple(offsets.shape) != (count * batch + 1,)):
        raise ShapeError(
            f"{count} tables and {batch} samples need indices of shape [L] and {count * batch + 1} offsets, got "
            f"{list(indices.shape)} and {list(offsets.shape)}."
        )
    columns = [row_bytes(name, dim) // stored.itemsize for name, stored in zip(TABLE_DTYPES, _STORAGE, strict=True)]
    for index, (table, dtype) in enumerate(zip(tables, dtypes, strict=True)):
        fits = table.dtype == _STORAGE[dtype] and table.dim() == 2 and table.shape[1] == columns[dtype]
        if not fits or not table.is_contiguous():
            name = TABLE_DTYPES[dtype]
            raise ShapeError(
                f"table {index}: {name} rows of dim {dim} have {row_bytes(name, dim)} bytes, that is contiguous "
                f"{_STORAGE[dtype]} [rows, {columns[dtype]}], got {table.dtype} {list(table.shape)}."
            )
    if indices.dim() and indices.numel() and indices.stride(-1) != 1:
        indices = indices.contiguous()
    return indices, None if offsets is None else offsets.contiguous()


def check_scale(scale: float, zero_point: int) -> None:
    """Check the scale and zero point of a quantization to bytes.

    Raises:
        ShapeError: the scale or the zero point is out of range.
    """
    if not 2**-126 <= scale <= 2**126 or not 0 <= zero_point <= 255:
        raise ShapeError(
            f"Quantization to bytes needs a scale from 2**-126 to 2**126 and a zero point from 0 to 255, got {scale} "
            f"and {zero_point}."
        )


def check_layer(name: str, inputs: int, outputs: int, weight: Tensor, multiplier: Tensor, bias: Tensor) -> None:
    """Check the packed weights of an int8 or bf16 Linear, and the multipliers and biases of its sums.

    Raises:
        ShapeError: they do not fit the numbers of inputs and outputs.
    """
    outs, ins = round_up(outputs, BLOCK_OUT), round_up(inputs, BLOCK_IN)
    is_bf16 = weight.dtype == torch.bfloat16
    lines, depth, factors = (16, BF16_DEPTH, 0) if is_bf16 else (BLOCK_IN // 4, BLOCK_IN, outs)
    shape = (outs // BLOCK_OUT, ins // depth, lines, 64 // (2 if is_bf16 else 1))
    fits = weight.dtype in (torch.int8, torch.bfloat16) and tuple(weight.shape) == shape and weight.is_contiguous()
    if not fits or not is_vector(multiplier, factors) or not is_vector(bias, outs):
        raise ShapeError(
            f"{name}: {inputs} inputs and {outputs} outputs need packed {'bf16' if is_bf16 else 'int8'} weights "
            f"{list(shape)}, {factors} float32 multipliers and {outs} float32 biases, all contiguous, got "
            f"{weight.dtype} {list(weight.shape)}, {multiplier.dtype} {list(multiplier.shape)}, {bias.dtype} "
            f"{list(bias.shape)}."
        )


def is_vector(values: Tensor, length: int) -> bool:
    """Return whether the kernels can read a tensor as this many floats."""
    return values.dtype == torch.float32 and values.shape == (length,) and values.is_contiguous()


def interaction_width(tables: int, dim: int, diagonal: bool) -> int:
    """Return the number of outputs of an interaction."""
    vectors = tables + 1
    return dim + vectors * (vectors - 1) // 2 + (vectors if diagonal else 0)


def raise_failure(failure: Failure | None, tables: Sequence[Tensor] = ()) -> None:
    """Raise the error for what a kernel found, if anything.

    Raises:
        LookupIndexError: an index is outside its table, or offsets are not in order.
        NonFiniteError: a value is NaN or infinite.
    """
    if failure is None:
        return
    kind, sample, place, value = failure
    if kind == "index":
        raise LookupIndexError(
            f"sample {sample}: row {value} of table {place} was requested, but the table has rows 0 to "
            f"{tables[place].shape[0] - 1}. The batch comes from another dataset than the model, or is corrupt."
        )
    if kind == "offset":
        raise LookupIndexError(
            f"sample {sample}: its bag of table {place} ends at lookup {value}, which is before its start or after the "
            "last lookup. Offsets must be non-decreasing, from 0 to L."
        )
    if tables and place >= 0:
        raise NonFiniteError(
            f"sample {sample}: the pooled rows of its bag of table {place} are NaN or infinite, so they have no int8 "
            "value. The training diverged, or the table is corrupt."
        )
    if place == _CROSSED:
        raise NonFiniteError(
            f"sample {sample}: the output of the cross network is NaN or infinite. Check the dense features of the "
            "batch, the rows of its bags, and the weights of the bottom MLP and of the cross layers."
        )
    if place == BETWEEN_LAYERS:
        raise NonFiniteError(
            f"sample {sample}: an output of layer {value} of a chain with a bf16 Linear is NaN or infinite (bfloat16 "
            "holds numbers up to 3.39e38). Check the dense features of the batch and the weights."
        )
    where = "the bottom MLP's output" if place < 0 else f"feature {place}"
    raise NonFiniteError(
        f"sample {sample}: {where} is NaN or infinite and has no int8 or bf16 value. Check the dense features of the "
        "batch and the weights of the layers before it."
    )
