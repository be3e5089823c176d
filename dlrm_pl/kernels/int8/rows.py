"""Layout of packed table rows, by dtype, and of packed weights; ``types.h`` has the same."""

from __future__ import annotations

from typing import Literal, get_args

TableDtype = Literal["int8", "int4", "fp16", "fp32"]
TABLE_DTYPES: tuple[TableDtype, ...] = get_args(TableDtype)
"""Dtypes in the order of their numbers in the C++ code."""

BLOCK_OUT = 16
BLOCK_IN = 64
"""Weights are stored in blocks of 16 outputs by 64 inputs."""

BF16_DEPTH = 32
"""Weights of bf16 Linears are stored in blocks of 16 outputs by 32 inputs, two for every 64 inputs."""

BF16_TINY = 2.0**-50
"""Smaller inputs and weights of a bf16 Linear are treated as 0, so that no sum is subnormal: processors round subnormal
numbers in two ways."""

MAX_TABLES = 64
MAX_DIM = 32_768
"""Limits of the int8 interaction. Lookups without it take any number of tables of any dimension."""

MAX_INPUTS = 65_792
"""Maximum number of inputs of an int8 Linear: the sum of more products of a byte and a signed byte does not fit into 32
bits."""


def row_bytes(dtype: TableDtype, embedding_dim: int) -> int:
    """Return the size of one packed row of ``embedding_dim`` values, in bytes.

    int8: the values, symmetric, and a float32 scale. int4: two values per byte, the first half of them in the low
    nibbles, then a bfloat16 scale, the nibble that stands for 0, and a byte of padding. fp16, fp32: the values.
    """
    return {
        "int8": embedding_dim + 4,
        "int4": (embedding_dim + 1) // 2 + 4,
        "fp16": 2 * embedding_dim,
        "fp32": 4 * embedding_dim,
    }[dtype]


def round_up(value: int, unit: int) -> int:
    """Return the smallest multiple of ``unit`` that is not below ``value``."""
    return -(-value // unit) * unit
