"""Row-wise tables in the layout that PyTorch and FBGEMM share, for programs that serve with those.

8 bit: D bytes, then scale and bias as float32. 4 bit: D / 2 bytes (the first of two values in the low nibble), then
scale and bias as float16. A value is scale * byte + bias, so the range of a row need not be symmetric. That of our own
int8 rows is: their bytes go straight into integer dot products, which a bias would spoil.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dlrm_pl.errors import ConfigurationError, NonFiniteError
from dlrm_pl.runtime.table_file import write_rows

Bits = Literal[8, 4]

_BLOCK_BYTES = 8 << 20


def exchange_row_bytes(bits: Bits, embedding_dim: int) -> int:
    """Bytes of one row.

    Raises:
        ConfigurationError: an odd number of values in 4 bits, which the layout does not have.
    """
    if bits == 4 and embedding_dim % 2:
        raise ConfigurationError(f"Rows of {embedding_dim} values cannot be packed in 4 bits: the layout needs pairs.")
    return embedding_dim + 8 if bits == 8 else embedding_dim // 2 + 4


def pack_exchange(rows: Tensor, bits: Bits) -> Tensor:
    """float32 ``[rows, D]`` -> uint8 ``[rows, exchange_row_bytes]``, by torch's own op."""
    pack = (
        torch.ops.quantized.embedding_bag_byte_prepack if bits == 8 else torch.ops.quantized.embedding_bag_4bit_prepack
    )
    packed: Tensor = pack(rows)
    return packed


def unpack_exchange(packed: Tensor, bits: Bits) -> Tensor:
    """The inverse, up to rounding: float32 ``[rows, D]``."""
    ops = torch.ops.quantized
    rows: Tensor = (ops.embedding_bag_byte_unpack if bits == 8 else ops.embedding_bag_4bit_unpack)(packed)
    return rows


def write_exchange(
    tables: Sequence[Tensor], folder: Path, bits: Bits, progress: Callable[[int], None] = lambda size: None
) -> dict[str, str]:
    """Write all tables, ``table-00-fbgemm8.safetensors`` ..., block by block.

    Args:
        tables: float32 ``[rows, D]`` each; they may be maps of a file larger than the memory.
        folder: to write to.
        bits: of a value.
        progress: told how many bytes of float rows were read.

    Returns:
        sha256 by name of the file.

    Raises:
        NonFiniteError: a row holds NaN or infinity; names table and row.
        OSError: a file cannot be written.
    """
    checksums = {}
    for index, table in enumerate(tables):
        name = f"table-{index:02d}-fbgemm{bits}.safetensors"
        rows, dim = table.shape
        blocks = _packed_blocks(table.detach(), index, bits, progress)
        checksums[name] = write_rows(folder / name, torch.uint8, (rows, exchange_row_bytes(bits, dim)), blocks)
    return checksums


def _packed_blocks(table: Tensor, index: int, bits: Bits, progress: Callable[[int], None]) -> Iterator[Tensor]:
    size = max(1, _BLOCK_BYTES // (4 * table.shape[1]))
    for start in range(0, table.shape[0], size):
        block = table[start : start + size]
        bad = torch.isfinite(block).all(dim=1).logical_not()
        if bad.any():
            raise NonFiniteError(
                f"table {index}: row {start + int(bad.nonzero()[0])} holds NaN or infinity and cannot be packed."
            )
        yield pack_exchange(block, bits)
        progress(block.numel() * block.element_size())
