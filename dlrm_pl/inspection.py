"""What a dataset folder, a checkpoint or an artifact is, as text for one screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrm_pl.errors import ConfigurationError


def describe(path: Path) -> str:
    """Describe any of the three, found out by what is there.

    Raises:
        ConfigurationError: there is nothing, or something else.
        DLRMError: it is one of the three, but broken.
    """
    if path.is_file():
        return _checkpoint(path)
    if (path / "manifest.json").is_file():
        return _artifact(path)
    if (path / "dataset.json").is_file() or (path / "day_fea_count.npz").is_file():
        return _dataset(path)
    if path.exists():
        raise ConfigurationError(f"{path}: holds neither a dataset, a checkpoint nor an artifact.")
    raise ConfigurationError(f"{path}: does not exist. Name a dataset folder, a checkpoint or an artifact folder.")


def _dataset(path: Path) -> str:
    from dlrm_pl.data.dataset_folder import DatasetFolder
    from dlrm_pl.data.preprocessing.report import report_lines

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
    report = report_lines(folder.report) if folder.report else []  # Of `preprocess` alone.
    return "\n".join([*lines, *_tables(folder.table_sizes), *report])


def _checkpoint(path: Path) -> str:
    from dlrm_pl.model.checkpoint_file import open_checkpoint

    checkpoint = open_checkpoint(path)
    ours = checkpoint["dlrm_pl"]
    architecture = ours["architecture"]
    parameters = sum(tensor.numel() for tensor in checkpoint["state_dict"].values())
    return "\n".join(
        [
            f"checkpoint  {path}",
            f"trained   {checkpoint['global_step']:,} steps, to epoch {checkpoint['epoch'] + 1}",
            f"parameters  {parameters:,} ({4 * parameters:,} bytes)",
            f"dataset fingerprint  {ours['dataset_fingerprint'] or 'unknown: imported without --data'}",
            *_origin(checkpoint),
            *_architecture(architecture),
        ]
    )


def _origin(checkpoint: dict[str, Any]) -> list[str]:
    """Of an imported checkpoint: what its file said of its training, and what is wrong with its numbers."""
    origin = checkpoint.get("reference")
    if not isinstance(origin, dict):
        return []
    lines = [f"imported  from {origin['file']} of the reference ({origin['format']} format)"]
    plain = {name: value for name, value in origin["metadata"].items() if isinstance(value, int | float | str)}
    if plain:
        lines.append("which says  " + ", ".join(f"{name} {value}" for name, value in plain.items()))
    if origin["left_out"]:
        lines.append(f"left out  {', '.join(origin['left_out'])}")
    if origin["nonfinite_rows"]:
        rows = ", ".join(f"{count:,} of {name}" for name, count in origin["nonfinite_rows"].items())
        lines.append(f"rows with NaN or infinity  {rows}")
    return lines


def _artifact(path: Path) -> str:
    from dlrm_pl.artifact.certificate import Certificate
    from dlrm_pl.artifact.manifest import Manifest
    from dlrm_pl.artifact.summary import comparison, loss_line

    manifest, certificate = Manifest.read(path), Certificate.read(path)
    widths = (22, 16, 16, 12)
    table = [
        "".join(
            f"{cell:<{w}}" if not i else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [("", "fp32", "int8", "difference"), *comparison(manifest, certificate)]
    ]
    ops: dict[tuple[str, str], list[int]] = {}
    for op, values in manifest.ops.items():
        part, _, number = op.partition(".")
        ops.setdefault((part, values["dtype"]), []).extend([int(number)] if number else [])
    return "\n".join(
        [
            f"artifact  {path}  ({'accepted' if certificate.accepted else 'NOT accepted'}, {certificate.created})",
            f"made from  model {manifest.model_fingerprint}, dataset {manifest.dataset_fingerprint}",
            f"certified on  {manifest.machine['processor']}, torch {manifest.machine['torch']}",
            *_architecture(manifest.architecture),
            *(f"{dtype:<10}{part} {_numbers(numbers)}".rstrip() for (part, dtype), numbers in ops.items()),
            *table,
            loss_line(certificate),
            f"reason    {certificate.reason}",
        ]
    )


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
        *_tables(sizes, f" x {architecture['embedding_dim']}"),
    ]


def _tables(sizes: Sequence[int], dim: str = "") -> list[str]:
    return [f"tables    {len(sizes)}, {sum(sizes):,} rows{dim}: {' '.join(f'{size:,}' for size in sizes)}"]


def _numbers(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` -> ``0-2, 5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
