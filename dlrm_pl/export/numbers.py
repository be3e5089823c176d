"""Numbers with which every exported graph of a quantized model computes, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.int8.rows import TableDtype
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.linear import FloatLinear, Int8Linear, fold, lowest

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Int8Layer:
    """An int8 Linear: ``max(sum(x * weight) * multiplier + bias, lowest)``.

    Attributes:
        weight: int8 ``[out, in]``.
        multiplier: float32 ``[out]``.
        bias: float32 ``[out]``.
        lowest: lowest value of the output; -inf for none.
    """

    weight: npt.NDArray[np.int8]
    multiplier: Floats
    bias: Floats
    lowest: float


@dataclass(frozen=True)
class Chain:
    """Consecutive int8 Linears, with bytes between them and float output.

    Attributes:
        input_scale: step of the bytes that a float input becomes.
        input_zero_point: byte that stands for 0 in the input.
        layers: the Linears.
    """

    input_scale: float
    input_zero_point: int
    layers: tuple[Int8Layer, ...]

    @property
    def inverse(self) -> np.float32:
        """Factor for a float input: the reciprocal of the step, rounded once as in the kernels."""
        return np.float32(1.0 / self.input_scale)


@dataclass(frozen=True)
class FloatLayer:
    """An fp32 Linear.

    Attributes:
        weight: float32 ``[out, in]``.
        bias: float32 ``[out]``.
        relu: whether a ReLU follows.
    """

    weight: Floats
    bias: Floats
    relu: bool


Segments = tuple[Chain | FloatLayer, ...]
"""Consecutive Linears."""


@dataclass(frozen=True)
class Part:
    """An array with an entry for each row of a table; it may be larger than memory.

    Attributes:
        name: its name.
        dtype: type of its elements.
        shape: its shape; the first number is that of the rows.
        read: function that returns the entries from one row up to another, contiguous.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    read: Callable[[int, int], Array]

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def whole(self) -> Array:
        """Return all entries."""
        return self.read(0, self.shape[0])


@dataclass(frozen=True)
class Table:
    """A table in parts: values; for int8 and int4, the scale of each row; for int4, the nibble that stands for 0.

    Attributes:
        dtype: dtype of the packed table.
        values: int8, float16 or float32 ``[rows, D]``; for int4 uint8 ``[rows, (D + 1) // 2]``, whose low nibbles hold
            the first half of the values.
        scale: float32 ``[rows]``; None for floats.
        zero: uint8 ``[rows]``; None unless int4.
    """

    dtype: TableDtype
    values: Part
    scale: Part | None = None
    zero: Part | None = None

    @property
    def parts(self) -> list[Part]:
        """Return the existing parts."""
        return [part for part in (self.values, self.scale, self.zero) if part is not None]


@dataclass(frozen=True)
class Numbers:
    """All numbers of a model.

    Attributes:
        model: the model.
        bottom: segments of the bottom MLP.
        cross: segments of V and W of each cross layer; empty where there is no cross network.
        top: segments of the top MLP.
        tables: the tables.
    """

    model: Int8DLRM
    bottom: Segments
    cross: tuple[Segments, ...]
    top: Segments
    tables: tuple[Table, ...]

    @property
    def table_bytes(self) -> int:
        """Size of the exported tables in bytes."""
        return sum(part.nbytes for table in self.tables for part in table.parts)


def numbers_of(model: Int8DLRM) -> Numbers:
    """Extract the numbers from a model.

    Raises:
        ConfigurationError: a part of it is bf16, whose sums other programs round differently; the message names it.
    """
    half = [name for name, dtype in model.op_dtypes.items() if dtype == "bf16"]
    if half:
        verb = "is" if len(half) == 1 else "are"
        raise ConfigurationError(
            f"{', '.join(half[:5])} {verb} bf16, whose sums other programs round differently, so an exported model "
            "would give different results. Quantize with int8 or fp32 instead."
        )
    layers = {
        part: [layer for name, layer in model.layers.items() if name.startswith(part)]
        for part in ("bottom_mlp", "cross_net", "top_mlp")
    }
    crossed = layers["cross_net"]
    cross = tuple(_segments(crossed[index : index + 2]) for index in range(0, len(crossed), 2))
    dim = model.architecture.embedding_dim
    tables = tuple(
        table_of(index, model.tables.table(index), dtype, dim) for index, dtype in enumerate(model.tables.dtypes)
    )
    return Numbers(model, _segments(layers["bottom_mlp"]), cross, _segments(layers["top_mlp"]), tables)


def table_of(index: int, packed: Tensor, dtype: TableDtype, dim: int) -> Table:
    """Return the parts of a packed table, read from it on demand."""
    rows, half = packed.shape[0], (dim + 1) // 2

    def part(name: str, kind: type[np.generic], shape: Sequence[int], read: Callable[[Tensor], Tensor]) -> Part:
        def block(start: int, stop: int) -> Array:
            entries: Array = read(packed[start:stop]).contiguous().numpy()
            return entries

        return Part(f"tables.{index}.{name}", np.dtype(kind), (rows, *shape), block)

    if dtype == "int8":
        values = part("values", np.int8, (dim,), lambda rows: rows[:, :dim].view(torch.int8))
        scale = part("scale", np.float32, (), lambda rows: rows[:, dim:].contiguous().view(torch.float32)[:, 0])
        return Table(dtype, values, scale)
    if dtype == "int4":
        values = part("nibbles", np.uint8, (half,), lambda rows: rows[:, :half])
        scale = part(
            "scale",
            np.float32,
            (),
            lambda rows: rows[:, half : half + 2].contiguous().view(torch.bfloat16)[:, 0].float(),
        )
        return Table(dtype, values, scale, part("zero", np.uint8, (), lambda rows: rows[:, half + 2]))
    return Table(dtype, part("values", np.float16 if dtype == "fp16" else np.float32, (dim,), lambda rows: rows))


def _segments(layers: Sequence[Int8Linear | FloatLinear]) -> Segments:
    """Join consecutive int8 layers into chains, which end where the output is float."""
    ends, number = [], 0
    for layer in layers:
        ends.append(number)
        number += isinstance(layer, FloatLinear) or layer.output_scale is None
    groups = [
        [layer for _, layer in group] for _, group in groupby(zip(ends, layers, strict=True), key=lambda pair: pair[0])
    ]
    return tuple(_segment(group) for group in groups)


def _segment(layers: Sequence[Int8Linear | FloatLinear]) -> Chain | FloatLayer:
    first = layers[0]
    if isinstance(first, FloatLinear):
        return FloatLayer(first.weight.numpy(), first.bias.numpy(), first.relu)
    numbers = []
    for layer in layers:
        assert isinstance(layer, Int8Linear)
        multiplier, bias = (values[: layer.weight.shape[0]].numpy() for values in fold(layer))
        numbers.append(Int8Layer(layer.weight.numpy(), multiplier, bias, lowest(layer)))
    return Chain(first.input_scale, first.input_zero_point, tuple(numbers))
