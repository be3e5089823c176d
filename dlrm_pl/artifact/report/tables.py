"""The tables of a report, with formatted numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.summary import comparison
from dlrm_pl.columns.description import column_lines
from dlrm_pl.pages.table import Cell, Table
from dlrm_pl.quantization.judging.guards import describe_change
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice
from dlrm_pl.quantization.judging.slices.cuts import SCORE_NAMES

_PASSED = {True: "yes", False: "no", None: "undecided"}


def tables(data: ReportData) -> dict[str, Table]:
    """Make all tables of a report, by their names in the template."""
    return {
        "comparison": Table(
            "fp32 beside int8, on the certification rows",
            ("", "fp32", "int8", "difference"),
            comparison(data.manifest, data.certificate),
        ),
        "guards": _guards(data),
        "row_ranges": _row_ranges(data),
        "sensitivities": _sensitivities(data),
        "pareto": _pareto(data),
        "reliability": _reliability(data),
        "model_bytes": _model_bytes(data),
        "table_bytes": _table_bytes(data),
        "columns": _columns(data),
        "trials": _trials(data),
        "settings": Table("Search settings", ("", ""), list(_flat(data.settings))),
        "recipe": _recipe(data),
        "provenance": _provenance(data),
    }


def _guards(data: ReportData) -> Table:
    rows = [
        (
            guard.title,
            describe_change(guard.change, 4),
            "unknown" if guard.standard_error is None else f"{guard.standard_error:.4%}",
            "off" if guard.tolerance is None else f"{guard.tolerance:.2%}",
            _PASSED[guard.passed],
        )
        for guard in data.certificate.guards
    ]
    if data.certificate.worst_slice is not None:
        rows.append(_slice_row(data.certificate.worst_slice))
    return Table(
        "Guards: changes that AUROC does not show", ("", "change", "standard error", "tolerance", "passed"), rows
    )


def _slice_row(stated: CertifiedSlice) -> tuple[str, str, str, str, str]:
    """Return the worst slice as another guard; a drop of its AUROC is a negative change."""
    worst, score = stated.worst, stated.guard.score
    name = f"{SCORE_NAMES[score]} of the worst slice of {stated.column}"
    tolerance, passed = f"{stated.guard.tolerance:.2%}", _PASSED[stated.passed]
    if worst is None:
        return name, "", "", tolerance, passed
    change = -worst.drop if score == "auroc" else worst.drop
    return name, f"{change:+.4%}", f"{worst.standard_error:.4%}", tolerance, passed


def _row_ranges(data: ReportData) -> Table:
    rows = [
        (name, rows["split"], f"{rows['start']:,}", f"{rows['stop']:,}", f"{rows['stop'] - rows['start']:,}")
        for name, rows in data.certificate.row_ranges.items()
    ]
    return Table("Row ranges (disjoint)", ("", "split", "from", "to", "rows"), rows)


def _sensitivities(data: ReportData) -> Table:
    rows = [
        (
            drop.op,
            drop.dtype,
            f"{drop.drop:+.7f}",
            "" if drop.standard_error is None else f"{drop.standard_error:.7f}",
        )
        for drop in data.sensitivities.drops
    ]
    return Table("", ("op", "dtype", "drop", "standard error"), rows)


def _pareto(data: ReportData) -> Table:
    front = [trial for trial in data.trials if trial.number in data.pareto]
    rows = [
        (
            trial.number,
            f"{trial.drop:+.6f}",
            f"{trial.model_bytes / 2**20:,.2f}",
            f"{trial.samples_per_s:,.0f}" if trial.samples_per_s else "unknown",
            "accepted" if trial.accepted else "rejected",
            trial.recipe.describe(),
        )
        for trial in sorted(front, key=lambda trial: (trial.model_bytes, trial.number))
    ]
    return Table(
        "Trials that no other trial dominates in drop, size and speed",
        ("trial", "drop", "MiB", "samples/s", "verdict", "recipe"),
        rows,
    )


def _reliability(data: ReportData) -> Table:
    columns = ("fp32 predicted", "fp32 observed", "rows", "int8 predicted", "int8 observed", "rows")
    if data.histograms is None:
        return Table("", columns, [])
    rows = [
        tuple(
            cell
            for predicted, observed, count in groups
            for cell in (f"{predicted:.4%}", f"{observed:.4%}", f"{count:,}")
        )
        for groups in zip(*(histogram.groups() for histogram in data.histograms), strict=False)
    ]
    return Table("", columns, rows)


def _model_bytes(data: ReportData) -> Table:
    manifest = data.manifest
    tables_before = sum(table.fp32_bytes for table in data.table_sizes)
    mlps_after = max(manifest.int8_bytes - manifest.table_bytes, 0)
    rows = [
        _before_and_after("all tables", tables_before, manifest.table_bytes),
        _before_and_after("MLPs", manifest.fp32_bytes - tables_before, mlps_after),
        _before_and_after("model", manifest.fp32_bytes, manifest.int8_bytes),
    ]
    return Table("", ("", "fp32", "artifact", "share"), rows)


def _columns(data: ReportData) -> Table:
    lines = [] if data.columns is None else column_lines(data.columns)
    rows = [(kind, *words.partition(": ")[::2]) for kind, words in lines]
    return Table("Columns of the rows", ("", "names", "values"), rows)


def _table_bytes(data: ReportData) -> Table:
    names = [""] * len(data.table_sizes) if data.columns is None else [column.name for column in data.columns.sparse]
    rows = [
        (
            index,
            names[index],
            f"{table.rows:,}",
            table.dtype,
            *_before_and_after("", table.fp32_bytes, table.artifact_bytes)[1:],
        )
        for index, table in enumerate(data.table_sizes)
    ]
    return Table("", ("table", "column", "rows", "dtype", "fp32 bytes", "bytes", "share"), rows)


def _before_and_after(name: str, before: int, after: int) -> tuple[str, str, str, str]:
    return name, f"{before:,}", f"{after:,}", f"{after / before:.1%}" if before else ""


def _trials(data: ReportData) -> Table:
    rows = [
        (
            trial.number,
            "accepted" if trial.accepted else "failed" if trial.verdict is None else "rejected",
            "" if trial.verdict is None else f"{trial.drop:+.6f}",
            f"{trial.rows:,}" if trial.rows else "",
            f"{trial.model_bytes / 2**20:,.2f}" if trial.model_bytes else "",
            f"{trial.samples_per_s:,.0f}" if trial.samples_per_s else "",
            trial.recipe.describe(),
            trial.reason,
        )
        for trial in data.trials
    ]
    return Table("", ("trial", "verdict", "drop", "rows", "MiB", "samples/s", "recipe", "reason"), rows)


def _recipe(data: ReportData) -> Table:
    ops = {name: op["dtype"] for name, op in data.manifest.ops.items()}
    whole = {name: value for name, value in data.manifest.recipe.items() if isinstance(value, str)}
    return Table("", ("op", "dtype"), [*whole.items(), *ops.items()])


def _provenance(data: ReportData) -> Table:
    certificate = data.certificate
    facts: list[tuple[Cell, ...]] = [
        ("created", certificate.created),
        ("fingerprint of the dataset", certificate.dataset_fingerprint),
        ("fingerprint of the fp32 model", certificate.model_fingerprint),
        ("calibration rows", f"{data.calibration_rows:,}"),
        ("batch size", f"{certificate.batch_size:,}"),
        ("integer ops of one forward pass", _in_words(certificate.int8_ops)),
        ("kernels", _in_words(certificate.kernels)),
        *((name.replace("_", " "), _in_words(value)) for name, value in certificate.machine.items()),
    ]
    return Table("", ("", ""), facts)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[Cell, ...]]:
    """Flatten nested settings to dotted names with their values."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _in_words(value)


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    return "not set" if value is None else str(value)
