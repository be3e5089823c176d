"""What a dataset folder, a checkpoint or an artifact is, as text for one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrm_pl.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from dlrm_pl.model.checkpoints.table_statistics import TableStatistics

_LONGEST_TEXT = 100


def describe(path: Path, full: bool = False) -> str:
    """Describe any of the three, found out by what is there.

    Args:
        path: a folder or a file.
        full: compare all of it with its checksums.

    Raises:
        ConfigurationError: there is nothing, or something else.
        DLRMError: it is one of the three, but broken.
    """
    if path.is_file():
        return _checkpoint(path, full)
    if (path / "manifest.json").is_file():
        return _artifact(path, full)
    if (path / "dataset.json").is_file() or (path / "day_fea_count.npz").is_file():
        return _dataset(path, full)
    if path.exists():
        raise ConfigurationError(f"{path}: holds neither a dataset, a checkpoint nor an artifact.")
    raise ConfigurationError(f"{path}: does not exist. Name a dataset folder, a checkpoint or an artifact folder.")


def _dataset(path: Path, full: bool) -> str:
    from dlrm_pl.data.formats.dataset_folder import DatasetFolder
    from dlrm_pl.data.preprocessing.report import report_lines, warn_of_classes

    folder = DatasetFolder.open(path)
    lines = [
        f"dataset   {path}",
        f"fingerprint  {folder.fingerprint}",
        f"max_ind_range  {folder.max_ind_range}",
    ]
    for name, split in folder.splits.items():
        clicks = (
            "" if split.positives is None else f", {split.positives:,} clicks ({split.positives / split.records:.3%})"
        )
        best = (folder.best_possible_auroc or {}).get(name)
        ceiling = "" if best is None else f", best possible AUROC {best:.6f}"
        lines.append(f"{name:<6}{split.records:>16,} rows{clicks}{ceiling}")
    if folder.report:  # Of `preprocess` alone.
        report = report_lines(folder.report)
    else:
        counts = [
            (name, one.records, one.positives) for name, one in folder.splits.items() if one.positives is not None
        ]
        report = [f"warning: {warning}" for warning in warn_of_classes(counts)]
    checked = folder.verify_checksums() if full else folder.check_samples()
    return "\n".join([*lines, *_tables(folder.table_sizes), *report, f"checked   {checked}{_rest(full)}"])


def _rest(full: bool) -> str:
    """How to have the rest checked."""
    return "" if full else "; `--full true` checks every byte"


def _checkpoint(path: Path, full: bool) -> str:
    from dlrm_pl.model.checkpoints.contract import CheckpointContract
    from dlrm_pl.model.checkpoints.file import open_checkpoint
    from dlrm_pl.model.checkpoints.table_statistics import describe_rows, sampled_rows
    from dlrm_pl.model.checkpoints.tensors import unchecked
    from dlrm_pl.model.embeddings import TABLE_KEY

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
    statistics = [describe_rows(table.map()[sampled_rows(table.shape[0])]) for table in tables]
    kinds = [(str(table.dtype).removeprefix("torch."), table.nbytes) for table in tables]
    return "\n".join(
        [
            f"checkpoint  {path}",
            f"trained   {_training(checkpoint.get('global_step'), checkpoint.get('epoch'))}",
            f"parameters  {parameters:,} ({4 * parameters:,} bytes)",
            f"dataset fingerprint  {_text(contract.dataset_fingerprint) or 'none: not tied to a dataset'}",
            *_origin(checkpoint),
            *_architecture(architecture),
            *_table_lines(architecture, kinds, statistics),
            f"checked   {_checked(left)}{_rest(full or not left)}",
        ]
    )


def _checked(left: str) -> str:
    return f"all by the checksums in the file but {left}" if left else "all by the checksums in the file"


def _origin(checkpoint: dict[str, Any]) -> list[str]:
    """Of an imported checkpoint: what its file said of its training, and what is wrong with its numbers."""
    origin = checkpoint.get("reference")
    if not isinstance(origin, dict):
        return []
    lines = [f"imported  from {_text(origin['file'])} of the reference ({_text(origin['format'])} format)"]
    plain = {name: value for name, value in origin["metadata"].items() if isinstance(value, int | float | str)}
    if origin["format"] == "legacy":
        lines.append("not checked  when it was imported: that format has no checksums")
    if plain:
        lines.append("which says  " + ", ".join(f"{_text(name)} {_text(value)}" for name, value in plain.items()))
    if origin["left_out"]:
        lines.append(f"left out  {', '.join(map(_text, origin['left_out']))}")
    if origin["nonfinite_rows"]:
        rows = ", ".join(f"{count:,} of {_text(name)}" for name, count in origin["nonfinite_rows"].items())
        lines.append(f"rows with NaN or infinity  {rows}")
    return lines


def _artifact(path: Path, full: bool) -> str:
    import torch

    from dlrm_pl.artifact.manifest import Manifest
    from dlrm_pl.artifact.result_file import check_result
    from dlrm_pl.artifact.store import check_files, large_files, load_model, read_certificate
    from dlrm_pl.artifact.summary import comparison, drop_line, guards_line, slice_line, verdict_line
    from dlrm_pl.model.checkpoints.table_statistics import describe_rows, sampled_rows

    manifest = Manifest.read(path)
    left = {} if full else large_files(path, manifest)
    check_files(path, manifest, left)
    checked = f"all files {f'below {min(left.values()):,} bytes ' if left else ''}by their checksums"
    checked += ", and that the certificate agrees with itself and with them"
    certificate = read_certificate(path, manifest)
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
        ops.setdefault((part, values["dtype"]), []).extend([int(number)] if number else [])
    model = load_model(path, manifest)
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
    return "\n".join(
        [
            f"artifact  {path}  ({verdict_line(certificate)}; {certificate.created})",
            f"made from  model {manifest.model_fingerprint}, dataset {manifest.dataset_fingerprint or 'unknown'}",
            *([f"by force  {certificate.other_dataset}"] if certificate.other_dataset else []),
            *([f"damaged   rows whose NaN or infinity became 0: {', '.join(damaged)}"] if damaged else []),
            f"certified on  {manifest.machine['processor']}, torch {manifest.machine['torch']}",
            *_architecture(architecture),
            *(f"{dtype:<10}{part} {_numbers(numbers)}".rstrip() for (part, dtype), numbers in ops.items()),
            *_table_lines(architecture, kinds, statistics),
            *metrics,
            drop_line(certificate),
            guards_line(certificate),
            *filter(None, [slice_line(certificate)]),
            f"reason    {certificate.reason}",
            *(f"warning   {warning}" for warning in certificate.warnings),
            f"checked   {checked}{_rest(full or not left)}",
            "not checked  that the numbers are this model's: `verify` scores it again, with --ckpt_path fp32 as well",
        ]
    )


def _table_lines(
    architecture: Mapping[str, Any], kinds: Sequence[tuple[str, int]], statistics: Sequence[TableStatistics]
) -> list[str]:
    """A line a table. Norms and peaks are those of a sample of its rows, see ``table_statistics``."""
    lines = [
        f"{'table':<6}{'rows':>13}{'dim':>5}  {'dtype':<9}{'bytes':>16}{'mean norm':>12}{'max':>9}{'peak':>7}{'max':>7}"
    ]
    for index, (rows, (dtype, size), found) in enumerate(
        zip(architecture["table_sizes"], kinds, statistics, strict=True)
    ):
        damaged = f"  {found.nonfinite_rows} of {found.rows} sampled rows not finite" if found.nonfinite_rows else ""
        lines.append(
            f"{index:<6}{rows:>13,}{architecture['embedding_dim']:>5}  {dtype:<9}{size:>16,}"
            f"{found.mean_norm:>12.4g}{found.max_norm:>9.4g}{found.peak:>7.2f}{found.max_peak:>7.2f}{damaged}"
        )
    return lines


def _architecture(architecture: dict[str, object]) -> list[str]:
    def widths(name: str) -> str:
        values = architecture[name]
        assert isinstance(values, Sequence)
        return "-".join(map(str, values))

    sizes = architecture["table_sizes"]
    assert isinstance(sizes, Sequence)
    return [
        f"bottom MLP  {widths('bottom_mlp')}",
        f"top MLP   {widths('top_mlp')}, interaction {architecture['interaction']}",
        f"tables    {len(sizes)}, {sum(sizes):,} rows x {architecture['embedding_dim']}",
    ]


def _tables(sizes: Sequence[int]) -> list[str]:
    return [f"tables    {len(sizes)}, {sum(sizes):,} rows: {' '.join(f'{size:,}' for size in sizes)}"]


def _training(steps: int | None, epoch: int | None) -> str:
    return "unknown" if steps is None or epoch is None else f"{steps:,} steps, to epoch {epoch + 1}"


def _text(value: float | str) -> str:
    """What a file says, on a part of a line, with nothing in it that a terminal would obey."""
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
