"""Export tables in the layouts of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dlrm_pl.cli.commands.progress import bytes_bar
from dlrm_pl.cli.output import Report


def export_tables(
    ckpt_path: str,
    output: str,
    bits: Literal[8, 4] = 8,
    layout: Literal["fused", "tbe"] = "fused",
    row_alignment: int = 1,
    overwrite: bool = False,
) -> Report:
    """Write a checkpoint's tables with row-wise quantization, in a layout of PyTorch and FBGEMM.

    Each table becomes a safetensors file of uint8 rows, and `tables.json` states their layout, checksums and columns.
    `fused` rows end with scale and bias; they are read by the operators
    `torch.ops.quantized.embedding_bag_byte_rowwise_offsets` (8 bit), `embedding_bag_4bit_rowwise_offsets` and the
    corresponding operators of FBGEMM. `tbe` rows begin with scale and bias in float16; FBGEMM's inference module
    `IntNBitTableBatchedEmbeddingBagsCodegen` reads only these. This package's own runtime is faster and has its own
    layout; use `quantize` for it.

    Args:
        ckpt_path: the float checkpoint, of any size.
        output: folder to write. A folder that holds the same tables is rewritten with the same bytes.
        bits: bits per value.
        layout: `fused` for the operators of torch and FBGEMM, or `tbe` for FBGEMM's inference module.
        row_alignment: with `tbe`, rows are padded to a multiple of this many bytes; FBGEMM uses 1 on CPUs and 16 on
            GPUs.
        overwrite: replace other tables in the folder ``output``.
    """
    from dlrm_pl.export.fbgemm_folder import export_tables as export
    from dlrm_pl.export.fbgemm_layouts import RowFormat

    row_format = RowFormat(bits, layout, row_alignment)
    with bytes_bar("export-tables") as advance:
        size = export(Path(ckpt_path), Path(output), row_format, advance, overwrite=overwrite)
    words = "the layout of FBGEMM" if layout == "fused" else "the layout of FBGEMM's TBE"
    text = f"{output}: {size:,} bytes of rows in {words}, {bits} bit; tables.json describes them"
    return Report({"output": output, "bytes": size, "bits": bits, "layout": layout}, text)
