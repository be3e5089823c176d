"""Describe a dataset folder, a checkpoint or an artifact: as text for one screen, and as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dlrm_pl.columns.columns import Columns
from dlrm_pl.columns.description import column_lines
from dlrm_pl.data.formats.torchrec.day_files import is_days_folder
from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.checkpoints.sharded.names import is_sharded

_LONGEST_TEXT = 100
_LISTED = 10


# A label and what stands behind it; or a line of a table.
_Line = tuple[str, str] | str


@dataclass(frozen=True)
class Description:
    """A dataset folder, a checkpoint or an artifact.

    Attributes:
        kind: which of the three.
        path: the folder or file.
        data: its facts by name: numbers, texts, dataclasses, and lists and mappings of them.
        lines: the same for people.
        checked: what was compared with its checksum.
    """

    kind: Literal["dataset", "checkpoint", "artifact"]
    path: Path
    data: Mapping[str, Any]
    lines: tuple[_Line, ...]
    checked: str

    def __str__(self) -> str:
        lines = [(self.kind, str(self.path)), *self.lines]
        width = max(len(line[0]) for line in lines if not isinstance(line, str)) + 2
        return "\n".join(line if isinstance(line, str) else f"{line[0]:<{width}}{line[1]}" for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """Return kind, path, what was checked, and the facts."""
        return {"kind": self.kind, "path": str(self.path), "checked": self.checked, **self.data}


Progress = Callable[[int], None]
"""Called with the bytes that were read since the last call."""


def describe(path: Path, full: bool = False) -> str:
    """Describe any of the three in words, see ``inspect_path``."""
    return str(inspect_path(path, full))


def inspect_path(
    path: Path,
    full: bool = False,
    *,
    checksums: bool = False,
    progress: Callable[[int], AbstractContextManager[Progress]] | None = None,
) -> Description:
    """Describe a dataset folder, a checkpoint or an artifact; which one it is shows in its files.

    Args:
        path: a folder or a file; a sharded checkpoint is a folder.
        full: compare all of it with its checksums.
        checksums: of days in TorchRec's format, compare all files with the published checksums.
        progress: shows how far the comparison is; given the number of bytes in all.

    Raises:
        ConfigurationError: there is nothing, or something else, or nothing is published of it.
        DLRMError: it is one of the three, but broken.
    """
    if is_days_folder(path) and not (path / "dataset.json").is_file():
        return _days(path, full, (progress or _silent) if checksums else None)
    if checksums:
        raise ConfigurationError(f"{path}: --checksums is for days in TorchRec's format; --full checks other things.")
    if path.is_file() or is_sharded(path):
        return _checkpoint(path, full)
    if (path / "manifest.json").is_file():
        return _artifact(path, full)
    if (path / "dataset.json").is_file() or (path / "day_fea_count.npz").is_file():
        return _dataset(path, full)
    if path.exists():
        raise ConfigurationError(f"{path}: holds neither a dataset, a checkpoint nor an artifact.")
    raise ConfigurationError(f"{path}: does not exist. Name a dataset folder, a checkpoint or an artifact folder.")


def _dataset(path: Path, full: bool) -> Description:
    from dlrm_pl.data.formats.dataset_folder import DatasetFolder
    from dlrm_pl.data.preprocessing.statistics.report import report_lines, warn_of_classes

    folder = DatasetFolder.open(path)
    sizes = folder.table_sizes
    lines: list[_Line] = [("fingerprint", folder.fingerprint)]
    modulus = {"max_ind_range": folder.max_ind_range} if folder.columns.has_hex_vocabulary else {}
    lines += [(name, str(number)) for name, number in modulus.items()]
    lines += column_lines(folder.columns)
    for name, split in folder.splits.items():
        clicks = (
            "" if split.positives is None else f", {split.positives:,} clicks ({split.positives / split.records:.3%})"
        )
        best = (folder.best_possible_auroc or {}).get(name)
        ceiling = "" if best is None else f", best possible AUROC {best:.6f}"
        lines.append((name, f"{split.records:,} rows{clicks}{ceiling}"))
    lines.append(("tables", f"{len(sizes)}, {sum(sizes):,} rows: {' '.join(f'{size:,}' for size in sizes)}"))
    if folder.report:  # Only `preprocess` writes one.
        report: list[_Line] = [_labelled(line) for line in report_lines(folder.report)]
    else:
        counts = [
            (name, split.records, split.positives)
            for name, split in folder.splits.items()
            if split.positives is not None
        ]
        report = [f"warning: {warning}" for warning in warn_of_classes(counts)]
    checked = folder.verify_checksums() if full else folder.check_samples()
    data = {
        "fingerprint": folder.fingerprint,
        **modulus,
        "columns": folder.columns.statement(),
        "splits": {
            name: {
                "rows": split.records,
                "clicks": split.positives,
                "best_possible_auroc": (folder.best_possible_auroc or {}).get(name),
            }
            for name, split in folder.splits.items()
        },
        "table_sizes": list(sizes),
        "report": folder.report,
    }
    return Description("dataset", path, data, (*lines, *report, ("checked", f"{checked}{_rest(full)}")), checked)


def _days(path: Path, full: bool, progress: Callable[[int], AbstractContextManager[Progress]] | None) -> Description:
    from dlrm_pl.columns.column import MOST_ROWS
    from dlrm_pl.data.formats.dataset_folder import DatasetFolder
    from dlrm_pl.data.formats.torchrec.folder import DaysFolder
    from dlrm_pl.data.formats.torchrec.overview import overview
    from dlrm_pl.data.formats.torchrec.published import PublishedDays, total_bytes
    from dlrm_pl.data.formats.torchrec.stated import StatedTables
    from dlrm_pl.data.preprocessing.statistics.report import report_lines

    days = DaysFolder.open(path)
    found, checked = overview(days), ["sizes, types and shapes of all files"]
    if full:
        # Where the rows of the tables are not known, ids of bags can be any that are not negative.
        unknown = StatedTables((MOST_ROWS,) * len(days.widths)) if days.description is None else None
        checked.append(DatasetFolder.open(path, stated=unknown).verify_checksums())
    if progress is not None:
        with progress(total_bytes(days)) as advance:
            checked.append(PublishedDays.mlperf().check(days, advance))
    report = {} if days.description is None else days.description.report
    lines: list[_Line] = [*found.lines, *(_labelled(line) for line in (report_lines(report) if report else ()))]
    lines.append(("checked", f"{', '.join(checked)}{_rest(full)}"))
    return Description("dataset", path, found.data | {"report": report}, tuple(lines), ", ".join(checked))


def _silent(total: int) -> AbstractContextManager[Progress]:
    return nullcontext(lambda size: None)


def _labelled(line: str) -> _Line:
    """Split a line of a report into its label and what stands behind it, if it has a label."""
    label, _, text = line.partition("  ")
    return (label, text.strip()) if text else line


def _rest(full: bool) -> str:
    """Say how to have the rest checked."""
    return "" if full else "; `--full` checks every byte"


def _checkpoint(path: Path, full: bool) -> Description:
    from dlrm_pl.model.checkpoints.contract import CheckpointContract
    from dlrm_pl.model.checkpoints.file import open_checkpoint
    from dlrm_pl.model.checkpoints.table_lines import table_data, table_lines
    from dlrm_pl.model.checkpoints.table_statistics import describe_rows, sampled_rows
    from dlrm_pl.model.checkpoints.tensors import unchecked
    from dlrm_pl.model.embeddings import TABLE_KEY
    from dlrm_pl.model.training.resuming.run_record import RunRecord

    checkpoint = open_checkpoint(path, whole=full)  # Light: Lightning's import takes longer than all that is read here.
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
    lines: tuple[_Line, ...] = (
        ("trained", _training(step, epoch)),
        ("parameters", f"{parameters:,} ({4 * parameters:,} bytes)"),
        ("dataset fingerprint", _text(contract.dataset_fingerprint) or "none: not tied to a dataset"),
        *_origin(checkpoint),
        *(("overridden", _text(line)) for line in record.lines()),
        *_column_lines(contract.columns),
        *_architecture(architecture),
        *table_lines(architecture, kinds, statistics, contract.columns),
        ("checked", f"{_checked(left)}{_rest(full or not left)}"),
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


def _origin(checkpoint: dict[str, Any]) -> list[_Line]:
    """Say of an imported checkpoint what its file stated of its training, and what is wrong with its numbers."""
    origin = checkpoint.get("reference")
    if not isinstance(origin, dict):
        return []
    lines: list[_Line] = [("imported", f"from {_text(origin['file'])} of upstream ({_text(origin['format'])} format)")]
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


def _artifact(path: Path, full: bool) -> Description:
    import torch

    from dlrm_pl.artifact.certificate.matching import read_matching_certificate
    from dlrm_pl.artifact.columns import stated_columns
    from dlrm_pl.artifact.files import check_files, large_files, places_of
    from dlrm_pl.artifact.manifest import Manifest
    from dlrm_pl.artifact.store import load_model
    from dlrm_pl.artifact.summary import comparison, drop_line, guards_line, slice_line, verdict_line
    from dlrm_pl.artifact.writing.result_file import check_result
    from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME
    from dlrm_pl.model.checkpoints.table_lines import table_data, table_lines
    from dlrm_pl.model.checkpoints.table_statistics import describe_rows, sampled_rows

    manifest = Manifest.read(path)
    places = places_of(path, manifest)
    left = {} if full else large_files(places)
    check_files(places, manifest, left)
    checked = f"all files {f'below {min(left.values()):,} bytes ' if left else ''}by their checksums"
    checked += ", and that the certificate agrees with itself and with them"
    certificate = read_matching_certificate(path, manifest)
    check_result(path, certificate)
    widths = (22, 16, 16, 12)
    metrics = [
        "".join(
            f"{cell:<{w}}" if not i else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [("", "fp32", "int8", "difference"), *comparison(manifest, certificate)]
    ]
    ops: dict[tuple[str, str], list[int]] = {}
    for op, values in manifest.ops.items():
        part, _, number = op.partition(".")
        layer, _, linear = number.partition(".")  # Of a cross layer: V or W.
        named = f"{part} {linear}".rstrip()
        ops.setdefault((named, values["dtype"]), []).extend([int(layer)] if layer else [])
    model = load_model(places, manifest)
    columns = stated_columns(manifest.columns, model.architecture, str(path))
    tables, architecture = model.tables, model.architecture.to_dict()
    sizes = architecture["table_sizes"]
    samples = [sampled_rows(rows) for rows in sizes]
    longest = max(map(len, samples))
    # One lookup of all tables takes as many rows of each: short samples are filled up with row 0.
    indices = torch.stack([torch.nn.functional.pad(rows, (0, longest - len(rows))) for rows in samples])
    found = tables(indices, None)
    statistics = [describe_rows(found[: len(rows), index]) for index, rows in enumerate(samples)]
    kinds = [
        (dtype, table.numel() * table.element_size()) for dtype, table in zip(tables.dtypes, tables.all(), strict=True)
    ]
    damaged = [f"{count:,} in {op}" for op, count in manifest.nonfinite_rows.items()]
    machine = manifest.machine
    lines: list[_Line] = [
        ("verdict", f"{verdict_line(certificate)}; {certificate.created}"),
        ("made from", f"model {manifest.model_fingerprint}, dataset {manifest.dataset_fingerprint or 'unknown'}"),
        *([("by force", certificate.other_dataset)] if certificate.other_dataset else []),
        *([("damaged", f"rows whose NaN or infinity became 0: {', '.join(damaged)}")] if damaged else []),
        ("certified on", f"{machine['processor']}, torch {machine['torch']}"),
        *_column_lines(columns),
        *([("raw values", "by the dictionaries in the artifact")] if VOCABULARY_NAME in manifest.files else []),
        *_architecture(architecture),
        *((dtype, f"{part} {_numbers(numbers)}".rstrip()) for (part, dtype), numbers in ops.items()),
        *table_lines(architecture, kinds, statistics, columns),
        *metrics,
        drop_line(certificate),
        guards_line(certificate),
        *filter(None, [slice_line(certificate)]),
        ("reason", certificate.reason),
        *(("warning", warning) for warning in certificate.warnings),
        ("checked", f"{checked}{_rest(full or not left)}"),
        ("not checked", "the metrics: `verify` scores the model again, with --ckpt_path the fp32 model as well"),
    ]
    data = {
        "accepted": certificate.accepted,
        "outcome": certificate.outcome,
        "columns": columns and columns.statement(),
        "architecture": architecture,
        "ops": {op: values["dtype"] for op, values in manifest.ops.items()},
        "tables": table_data(architecture, kinds, statistics),
        "manifest": manifest,
        "certificate": certificate,
    }
    return Description("artifact", path, data, tuple(lines), checked)


def _column_lines(columns: Columns | None) -> list[_Line]:
    return [("columns", "unknown")] if columns is None else [*column_lines(columns)]


def _architecture(architecture: dict[str, object]) -> list[_Line]:
    def widths(name: str) -> str:
        values = architecture[name]
        assert isinstance(values, Sequence)
        return "-".join(map(str, values))

    sizes = architecture["table_sizes"]
    assert isinstance(sizes, Sequence)
    crossed = ""
    if "cross_layers" in architecture:
        crossed = f" ({architecture['cross_layers']} layers of rank {architecture['cross_rank']})"
    return [
        ("bottom MLP", widths("bottom_mlp")),
        ("top MLP", f"{widths('top_mlp')}, interaction {architecture['interaction']}{crossed}"),
        ("tables", f"{len(sizes)}, {sum(sizes):,} rows x {architecture['embedding_dim']}"),
    ]


def _training(steps: int | None, epoch: int | None) -> str:
    return "unknown" if steps is None or epoch is None else f"{steps:,} steps, to epoch {epoch + 1}"


def _text(value: float | str) -> str:
    """Put what a file states on a part of a line, without anything that a terminal would obey."""
    text = str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


def _numbers(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` -> ``0-2, 5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
