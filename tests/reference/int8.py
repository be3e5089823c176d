"""The int8 kernels' computations in NumPy, step by step; rounds in float32 where they do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

F32 = np.float32
Array = npt.NDArray[np.generic]


def to_bytes(x: Array, scale: float, zero_point: int) -> Array:
    """``round(x / scale + zero_point)``, half to even, as a byte."""
    inverse = F32(1.0 / scale)
    return np.rint(np.clip(F32(x) * inverse + F32(zero_point), F32(0), F32(255))).astype(np.uint8)


def mlp(x: Array, layers: Sequence[tuple[Array, Array, Array, float]]) -> Array:
    """Pass bytes through layers of (weight [out, in], multiplier, bias, lowest)."""
    for number, (weight, multiplier, bias, lowest) in enumerate(layers):
        sums = x.astype(np.int64) @ weight.astype(np.int64).T
        values = sums.astype(F32) * multiplier + bias
        if number == len(layers) - 1:
            return np.maximum(values, F32(lowest))
        x = np.rint(np.clip(values, F32(lowest), F32(255))).astype(np.uint8)
    raise AssertionError("no layers")


def to_vector(x: Array) -> tuple[Array, np.float32]:
    """Return a symmetric int8 vector and its scale."""
    largest = F32(np.abs(x).max()) if x.size else F32(0)
    if largest <= F32(1e-30):
        return np.zeros(len(x), np.int8), F32(0)
    return np.rint(x * (F32(127) / largest)).astype(np.int8), largest / F32(127)


def row(packed: Array, dtype: str, dim: int) -> tuple[Array, np.float32 | None]:
    """Return the values of a packed row; the scale is None for float rows."""
    if dtype == "int8":
        return packed[:dim].view(np.int8), packed[dim:].view(F32)[0]
    if dtype == "int4":
        half = (dim + 1) // 2
        nibbles = np.concatenate([packed[:half] & 15, packed[:half] >> 4])[:dim].astype(np.int8)
        scale = (packed[half : half + 2].view(np.uint16).astype(np.uint32) << 16).view(F32)[0]
        return nibbles - packed[half + 2].astype(np.int8), scale
    return packed.astype(F32), None


def bag_sum(rows: Sequence[Array], dtype: str, dim: int) -> Array:
    """Sum the rows of a bag in order."""
    total = np.zeros(dim, F32)
    for packed in rows:
        values, scale = row(packed, dtype, dim)
        total = total + (values if scale is None else values.astype(F32) * scale)
    return total


def bag_mean(rows: Sequence[Array], dtype: str, dim: int) -> Array:
    """Return the sum of a bag divided by its number of rows; zeros for an empty bag."""
    return bag_sum(rows, dtype, dim) / F32(max(1, len(rows)))


def vector_of_bag(rows: Sequence[Array], dtype: str, dim: int, mean: bool = False) -> tuple[Array, np.float32]:
    """Return a bag as an int8 vector; a single integer row is returned unchanged."""
    if len(rows) == 1 and dtype in ("int8", "int4"):
        values, scale = row(rows[0], dtype, dim)
        assert scale is not None
        return values, scale
    return to_vector((bag_mean if mean else bag_sum)(rows, dtype, dim))


def cross_net(
    dense: Array,
    bags: Sequence[tuple[Sequence[Array], str]],
    inputs: Sequence[tuple[float, int]],
    layers: Sequence[tuple[Array, Array, Array]],
    is_mean: Sequence[bool] = (),
) -> Array:
    """One sample: the float output of a cross network on its dense vector and the sums of its bags.

    ``inputs`` contains scale and zero point of the bytes that each V reads; ``layers`` contains (weight, multiplier,
    bias) of V and W of the first layer, then of the second, and so on.
    """
    means = is_mean or [False] * len(bags)
    vectors = [(bag_mean if mean else bag_sum)(*bag, len(dense)) for bag, mean in zip(bags, means, strict=True)]
    first = x = np.concatenate([dense, *vectors]).astype(F32)
    for number, (scale, zero_point) in enumerate(inputs):
        (v, v_multiplier, v_bias), (w, w_multiplier, w_bias) = layers[2 * number : 2 * number + 2]
        inner = (v.astype(np.int64) @ to_bytes(x, scale, zero_point)).astype(F32) * v_multiplier + v_bias
        between = np.rint(np.clip(inner, F32(0), F32(255))).astype(np.int64)
        x = first * ((w.astype(np.int64) @ between).astype(F32) * w_multiplier + w_bias) + x
    return x


def interaction(
    dense: Array,
    bags: Sequence[tuple[Sequence[Array], str]],
    diagonal: bool,
    scale: float | None,
    zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Array:
    """One sample: its dense vector, and for each table the rows of its bag and their dtype."""
    dim = len(dense)
    means = is_mean or [False] * len(bags)
    vectors = [to_vector(dense)]
    vectors += [vector_of_bag(rows, dtype, dim, mean) for (rows, dtype), mean in zip(bags, means, strict=True)]
    pairs = []
    for i, (one, one_scale) in enumerate(vectors):
        for other, other_scale in vectors[: i + diagonal]:
            product = F32(int(one.astype(np.int64) @ other.astype(np.int64)))
            factor = one_scale if scale is None else one_scale * F32(1.0 / scale)
            pairs.append(product * other_scale * factor)
    if scale is None:
        return np.concatenate([dense, np.array(pairs, F32)])
    quantized = np.rint(np.clip(np.array(pairs, F32) + F32(zero_point), F32(0), F32(255))).astype(np.uint8)
    return np.concatenate([to_bytes(dense, scale, zero_point), quantized])
