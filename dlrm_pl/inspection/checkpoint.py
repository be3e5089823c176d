"""Describe a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dlrm_pl.errors import CheckpointError
from dlrm_pl.inspection.description import Description, Line
from dlrm_pl.inspection.lines import architecture_lines, how_to_check_the_rest, lines_of_columns

_LONGEST_TEXT = 100
_LISTED = 10


def describe_checkpoint(path: Path, full: bool) -> Description:
    """Describe a checkpoint: a file, or a folder of a sharded one."""
    from dlrm_pl.model.checkpoints.contract import CheckpointContract
    from dlrm_pl.model.checkpoints.file import open_checkpoint
    from dlrm_pl.model.checkpoints.table_lines import table_data, table_lines
    from dlrm_pl.model.checkpoints.table_statistics import describe_rows, sampled_rows
    from dlrm_pl.model.checkpoints.tensors import unchecked
    from dlrm_pl.model.embeddings import TABLE_KEY
    from dlrm_pl.model.training.resuming.run_record import RunRecord

    checkpoint = open_checkpoint(path, whole=full)  # Without Lightning, whose import takes longer than reading.
    left = unchecked(checkpoint)
    contract, state = CheckpointContract.read(checkpoint), checkpoint["state_dict"]
    architecture = contract.architecture.to_dict()
    parameters = sum(tensor.numel() for tensor in state.values())
    tables = []
    for index, rows in enumerate(contract.architecture.table_sizes):
        name, shape = f"model.{TABLE_KEY.format(index)}", (rows, contract.architecture.embedding_dim)
        if name not in state or state[name].shape != shape:
            found = list(state[name].shape) if name in state else "not there"
            raise CheckpointError(f"{path}: damaged: {name} should have the shape {list(shape)}, but is {found}.")
        tables.append(state[name])
    statistics = [describe_rows(table.take(sampled_rows(table.shape[0]))) for table in tables]
    kinds = [(str(table.dtype).removeprefix("torch."), table.nbytes) for table in tables]
    step, epoch = checkpoint.get("global_step"), checkpoint.get("epoch")
    record = RunRecord.read(checkpoint)
    lines: tuple[Line, ...] = (
        ("trained", _training(step, epoch)),
        ("parameters", f"{parameters:,} ({4 * parameters:,} bytes)"),
        ("dataset fingerprint", _text(contract.dataset_fingerprint) or "none: not tied to a dataset"),
        *_origin(checkpoint),
        *(("overridden", _text(line)) for line in record.lines()),
        *lines_of_columns(contract.columns),
        *architecture_lines(architecture),
        *table_lines(architecture, kinds, statistics, contract.columns),
        ("checked", f"{_checked(left)}{how_to_check_the_rest(full or not left)}"),
    )
    data = {
        "global_step": step,
        "epoch": epoch,
        "parameters": parameters,
        "dataset_fingerprint": contract.dataset_fingerprint or None,
        "columns": contract.columns and contract.columns.statement(),
        "upstream": checkpoint.get("reference"),
        "training": {"settings": dict(record.settings), "overridden": [asdict(one) for one in record.overridden]},
        "architecture": architecture,
        "tables": table_data(architecture, kinds, statistics),
    }
    return Description("checkpoint", path, data, lines, _checked(left))


def _checked(left: str) -> str:
    return f"all by the checksums in the file but {left}" if left else "all by the checksums in the file"


def _origin(checkpoint: dict[str, Any]) -> list[Line]:
    """Say of an imported checkpoint what its file stated of its training, and what is wrong with its numbers."""
    origin = checkpoint.get("reference")
    if not isinstance(origin, dict):
        return []
    lines: list[Line] = [("imported", f"from {_text(origin['file'])} of upstream ({_text(origin['format'])} format)")]
    stated = {name: value for name, value in origin["metadata"].items() if isinstance(value, int | float | str)}
    if origin["format"] in ("legacy", "snapshot"):
        lines.append(("not checked", "when it was imported: that format has no checksums"))
    if stated:
        lines.append(("states", ", ".join(f"{_text(name)} {_text(value)}" for name, value in stated.items())))
    if origin["left_out"]:
        shown, more = origin["left_out"][:_LISTED], len(origin["left_out"]) - _LISTED
        listed = ", ".join(map(_text, shown)) + (f" and {more:,} more" if more > 0 else "")
        lines.append(("left out", listed))
    if origin["nonfinite_rows"]:
        rows = ", ".join(f"{count:,} of {_text(name)}" for name, count in origin["nonfinite_rows"].items())
        lines.append(("not finite", f"rows with NaN or infinity: {rows}"))
    return lines


def _training(steps: int | None, epoch: int | None) -> str:
    return "unknown" if steps is None or epoch is None else f"{steps:,} steps, to epoch {epoch + 1}"


def _text(value: float | str) -> str:
    """Put what a file states on a part of a line, without anything that a terminal would obey."""
    text = str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
