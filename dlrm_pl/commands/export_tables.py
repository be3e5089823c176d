"""Tables in the layout of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dlrm_pl.commands.progress import bytes_bar


def export_tables(ckpt_path: str, output: str, bits: Literal[8, 4] = 8, overwrite: bool = False) -> None:
    """Write a checkpoint's tables row-wise quantized, in the layout that PyTorch and FBGEMM share.

    One safetensors file a table, uint8 rows that `torch.ops.quantized.embedding_bag_byte_rowwise_offsets` (8 bit),
    `embedding_bag_4bit_rowwise_offsets` and FBGEMM's inference tables read. For this package's own runtime, which is
    faster with rows of its own, use `quantize`.

    Args:
        ckpt_path: the float checkpoint, of any size.
        output: folder to write. One that was made of the same tables is written anew, with the same bytes.
        bits: of a value.
        overwrite: replace other tables that ``output`` holds.
    """
    from dlrm_pl.artifact.exchange import export_tables as export

    with bytes_bar("export-tables") as advance:
        size = export(Path(ckpt_path), Path(output), bits, advance, overwrite=overwrite)
    print(f"{output}: {size:,} bytes of rows in the layout of FBGEMM, {bits} bit; tables.json says what they are")
