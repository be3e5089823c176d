"""Folder with a checkpoint's tables in one of the layouts of PyTorch and FBGEMM."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from dlrm_pl.artifact.fingerprint import model_fingerprint
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.export.fbgemm_layouts import RowFormat, write_fbgemm_tables
from dlrm_pl.files.atomic import atomic_folder
from dlrm_pl.files.free_space import require_free_space
from dlrm_pl.files.replacement import FinishedOutput, PlannedOutput
from dlrm_pl.model.checkpoints.checksum import model_checksum, parameter_checksums
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.load import load_checkpoint
from dlrm_pl.model.weighted_bags import without_row_weights

FILE_NAME = "tables.json"
_DESCRIPTIONS = {
    "fused": "FBGEMM row-wise, {bits} bit: values, scale, bias",
    "tbe": "FBGEMM TBE, {bits} bit: scale and bias as float16, values; rows aligned to {alignment} bytes",
}


def recognize_fbgemm_tables(folder: Path) -> FinishedOutput | None:
    """Describe a folder that `export-tables` wrote; None for other folders."""
    contents = object_with(folder / FILE_NAME, "layout")
    files = object_in(contents, "files") if contents else None
    if contents is None or files is None:
        return None
    settings = {name: contents.get(name) for name in ("layout", "architecture", "model_fingerprint")}
    if "model_checksum" in contents:  # Earlier versions stated none.
        settings["model_checksum"] = contents["model_checksum"]
    return FinishedOutput("tables", "export-tables", settings, (*files, FILE_NAME))


def export_tables(
    ckpt_path: Path,
    output: Path,
    row_format: RowFormat,
    progress: Callable[[int], None] = lambda size: None,
    *,
    overwrite: bool = False,
) -> int:
    """Write the tables of a checkpoint block by block, and ``tables.json``, which describes them.

    It names the column of each table, if the checkpoint knows the columns.

    Args:
        ckpt_path: float checkpoint of any size.
        output: folder to write.
        row_format: layout of the rows.
        progress: called with the number of bytes of float rows that were read.
        overwrite: replace tables of another checkpoint, or in another layout.

    Returns:
        Bytes of all rows.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        NonFiniteError: a row holds NaN or infinity; the message names table and row.
        OutputError: the folder cannot be written, or the disk is too small.
    """
    module = load_checkpoint(ckpt_path)
    model, columns = without_row_weights(module.model), module.columns
    assert model.weights_file is not None  # The model was just loaded from a file.
    # The pass that compares the weights with the checksums of their file also computes the checksum of all of them.
    checksum = model_checksum(model, parameter_checksums(model, model.weights_file.tensors))
    architecture, bags = model.architecture, model.embedding_bags
    assert isinstance(bags, EmbeddingBags)
    size = sum(architecture.table_sizes) * row_format.row_bytes(architecture.embedding_dim)
    made_from = {
        "layout": _DESCRIPTIONS[row_format.layout].format(bits=row_format.bits, alignment=row_format.alignment),
        "architecture": architecture.to_dict(),
        "model_fingerprint": model_fingerprint(model),
        "model_checksum": checksum,
    }
    with atomic_folder(output, PlannedOutput("export-tables", made_from, recognize_fbgemm_tables, overwrite)) as folder:
        require_free_space(output, size, "the tables")
        checksums = write_fbgemm_tables(bags.weights(), folder, row_format, progress)
        contents = made_from | {"files": checksums}
        if columns is not None:
            names = (column.name for column in columns.sparse)
            contents["columns"] = dict(zip(checksums, names, strict=True))
        (folder / FILE_NAME).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    return size
