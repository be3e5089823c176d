"""Row-wise tables in the layouts of PyTorch and FBGEMM, for serving programs that use these libraries.

``fused`` is the layout that both share. 8 bit: D bytes, then scale and bias as float32. 4 bit: D / 2 bytes (the first
of two values in the low nibble), then scale and bias as float16.

``tbe`` is the layout of FBGEMM's ``IntNBitTableBatchedEmbeddingBagsCodegen``: scale and bias as float16 first, then the
same bytes of values, then zeros up to a multiple of the row alignment, which FBGEMM sets to 1 on CPUs and 16 on GPUs.

A value is scale * byte + bias, so the range of a row need not be symmetric. The int8 rows of ``quantize`` have
symmetric ranges: their bytes go into integer dot products, where a bias would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dlrm_pl.errors import ConfigurationError, NonFiniteError
from dlrm_pl.runtime.table_file import write_rows

Bits = Literal[8, 4]
Layout = Literal["fused", "tbe"]

_BLOCK_BYTES = 8 << 20
_FUSED_TAIL = {8: 8, 4: 4}  # Bytes of scale and bias after the values.
_TBE_HEAD = 4


@dataclass(frozen=True)
class RowFormat:
    """Layout of the rows of exported tables.

    Attributes:
        bits: bits per value.
        layout: ``fused`` or ``tbe``.
        alignment: rows of ``tbe`` are padded to a multiple of this number of bytes.

    Raises:
        ConfigurationError: the alignment is not a power of 2 up to 128, or is set for ``fused``, which has none.

    Example:
        >>> RowFormat(8).row_bytes(16), RowFormat(4, "tbe", 16).row_bytes(16)
        (24, 16)
    """

    bits: Bits
    layout: Layout = "fused"
    alignment: int = 1

    def __post_init__(self) -> None:
        """Check the alignment."""
        if self.alignment not in (1, 2, 4, 8, 16, 32, 64, 128):
            raise ConfigurationError(f"row_alignment={self.alignment} must be a power of 2, up to 128.")
        if self.layout == "fused" and self.alignment != 1:
            raise ConfigurationError(
                f"row_alignment={self.alignment}: the fused layout has no alignment. Set layout=tbe."
            )

    @property
    def name(self) -> str:
        """Name used in file names, such as ``fbgemm8`` or ``tbe4``."""
        return f"{'fbgemm' if self.layout == 'fused' else 'tbe'}{self.bits}"

    def row_bytes(self, embedding_dim: int) -> int:
        """Return the size of one row in bytes.

        Raises:
            ConfigurationError: a row has an odd number of 4-bit values, which neither layout can hold.
        """
        fused = fused_row_bytes(self.bits, embedding_dim)
        if self.layout == "fused":
            return fused
        size = fused - _FUSED_TAIL[self.bits] + _TBE_HEAD
        return -(-size // self.alignment) * self.alignment

    def pack(self, rows: Tensor) -> Tensor:
        """Pack float32 ``[rows, D]`` as uint8 ``[rows, row_bytes]``.

        Raises:
            NonFiniteError: float16 cannot hold the scale or the bias of a row; the message names the row.
        """
        fused = pack_fused(rows, self.bits)
        if self.layout == "fused":
            return fused
        tail = _FUSED_TAIL[self.bits]
        values, numbers = fused[:, :-tail], fused[:, -tail:].contiguous()
        halves = numbers.view(torch.float32).half() if self.bits == 8 else numbers.view(torch.float16)
        if not halves.isfinite().all():
            row = int(halves.isfinite().all(dim=1).logical_not().nonzero()[0])
            raise NonFiniteError(
                f"row {row} needs a scale or a bias that float16 cannot represent; choose layout=fused."
            )
        packed = torch.zeros(len(rows), self.row_bytes(rows.shape[1]), dtype=torch.uint8)
        packed[:, :_TBE_HEAD] = halves.contiguous().view(torch.uint8)
        packed[:, _TBE_HEAD : _TBE_HEAD + values.shape[1]] = values
        return packed


def fused_row_bytes(bits: Bits, embedding_dim: int) -> int:
    """Return the size of one row in the fused layout, in bytes.

    Raises:
        ConfigurationError: a row has an odd number of 4-bit values, which the layout cannot hold.
    """
    if bits == 4 and embedding_dim % 2:
        raise ConfigurationError(
            f"Rows of {embedding_dim} values cannot be packed in 4 bits: the layout stores pairs of values."
        )
    return embedding_dim + 8 if bits == 8 else embedding_dim // 2 + 4


def pack_fused(rows: Tensor, bits: Bits) -> Tensor:
    """Pack float32 ``[rows, D]`` as uint8 ``[rows, fused_row_bytes]`` with torch's own op."""
    pack = (
        torch.ops.quantized.embedding_bag_byte_prepack if bits == 8 else torch.ops.quantized.embedding_bag_4bit_prepack
    )
    packed: Tensor = pack(rows)
    return packed


def write_fbgemm_tables(
    tables: Sequence[Tensor], folder: Path, row_format: RowFormat, progress: Callable[[int], None] = lambda size: None
) -> dict[str, str]:
    """Write all tables block by block as ``table-00-fbgemm8.safetensors``, ``table-00-tbe8.safetensors`` and so on.

    Args:
        tables: float32 ``[rows, D]`` tables; if memory-mapped, they may be larger than the memory.
        folder: folder to write to.
        row_format: layout of the rows.
        progress: called with the number of bytes of float rows that were read.

    Returns:
        sha256 by name of the file.

    Raises:
        NonFiniteError: a row holds NaN or infinity; the message names table and row.
        OSError: a file cannot be written.
    """
    checksums = {}
    for index, table in enumerate(tables):
        name = f"table-{index:02d}-{row_format.name}.safetensors"
        rows, dim = table.shape
        blocks = _packed_blocks(table.detach(), index, row_format, progress)
        checksums[name] = write_rows(folder / name, torch.uint8, (rows, row_format.row_bytes(dim)), blocks)
    return checksums


def _packed_blocks(
    table: Tensor, index: int, row_format: RowFormat, progress: Callable[[int], None]
) -> Iterator[Tensor]:
    size = max(1, _BLOCK_BYTES // (4 * table.shape[1]))
    for start in range(0, table.shape[0], size):
        block = table[start : start + size]
        bad = torch.isfinite(block).all(dim=1).logical_not()
        if bad.any():
            raise NonFiniteError(
                f"table {index}: row {start + int(bad.nonzero()[0])} holds NaN or infinity and cannot be packed."
            )
        try:
            yield row_format.pack(block)
        except NonFiniteError as error:
            raise NonFiniteError(f"table {index}, rows from {start} on: {error}") from error
        progress(block.numel() * block.element_size())
