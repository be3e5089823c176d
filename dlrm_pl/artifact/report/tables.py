"""Tables of a report, with formatted numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlrm_pl.artifact.report.explanations import FACTS
from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.report.report_terms import settings_meanings
from dlrm_pl.artifact.report.speeds import certification_speed
from dlrm_pl.artifact.summary import comparison
from dlrm_pl.columns.description import column_lines
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.pages.table import Cell, Table, fact_name
from dlrm_pl.pages.terms import Terms
from dlrm_pl.quantization.judging.guards import describe_change
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice
from dlrm_pl.quantization.judging.slices.cuts import SCORE_NAMES
from dlrm_pl.quantization.search.trials.trial import Trial

_PASSED = {True: "yes", False: "no", None: "undecided"}


def tables(data: ReportData, terms: Terms) -> dict[str, Table]:
    """Make all tables of a report, by their names in the template."""
    return {
        "comparison": _comparison(data, terms),
        "guards": _guards(data, terms),
        "row_ranges": _row_ranges(data, terms),
        "sensitivities": _sensitivities(data, terms),
        "pareto": _pareto(data, terms),
        "reliability": _reliability(data, terms),
        "model_bytes": _model_bytes(data, terms),
        "table_bytes": _table_bytes(data, terms),
        "columns": _columns(data),
        "trials": _trials(data, terms),
        "settings": _settings(data),
        "recipe": _recipe(data, terms),
        "provenance": _provenance(data),
    }


def _comparison(data: ReportData, terms: Terms) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, *cells in comparison(data.manifest, data.certificate):
        term = terms[name]
        if name == "samples per second":
            term = terms.named(name, f"{name}, {certification_speed(data.certificate)}")
        rows.append((term, *cells))
    return Table("fp32 beside int8, on the certification rows", list(terms.all("", "fp32", "int8", "difference")), rows)


def _guards(data: ReportData, terms: Terms) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            terms[guard.title],
            describe_change(guard.change, 4),
            "unknown" if guard.standard_error is None else f"{guard.standard_error:.4%}",
            "off" if guard.tolerance is None else f"{guard.tolerance:.2%}",
            _PASSED[guard.passed],
        )
        for guard in data.certificate.guards
    ]
    if data.certificate.worst_slice is not None:
        rows.append(_slice_row(data.certificate.worst_slice, terms))
    return Table(
        "Guards: changes that AUROC does not show",
        list(terms.all("", "change", "standard error", "tolerance", "passed")),
        rows,
    )


def _slice_row(stated: CertifiedSlice, terms: Terms) -> tuple[Cell, ...]:
    """Return the worst slice as another guard; a drop of its AUROC is a negative change."""
    worst, score = stated.worst, stated.guard.score
    name = terms.named("worst slice", f"{SCORE_NAMES[score]} of the worst slice of {stated.column}")
    tolerance, passed = f"{stated.guard.tolerance:.2%}", _PASSED[stated.passed]
    if worst is None:
        return name, "", "", tolerance, passed
    change = -worst.drop if score == "auroc" else worst.drop
    return name, f"{change:+.4%}", f"{worst.standard_error:.4%}", tolerance, passed


def _row_ranges(data: ReportData, terms: Terms) -> Table:
    rows = [
        (terms[name], rows["split"], f"{rows['start']:,}", f"{rows['stop']:,}", f"{rows['stop'] - rows['start']:,}")
        for name, rows in data.certificate.row_ranges.items()
    ]
    return Table("Row ranges (disjoint)", ["", terms["split"], "from", "to", terms["rows"]], rows)


def _sensitivities(data: ReportData, terms: Terms) -> Table:
    rows = [
        (
            drop.op,
            drop.dtype,
            f"{drop.drop:+.7f}",
            "" if drop.standard_error is None else f"{drop.standard_error:.7f}",
        )
        for drop in data.sensitivities.drops
    ]
    return Table("", list(terms.all("op", "dtype", "drop", "standard error")), rows)


def _pareto(data: ReportData, terms: Terms) -> Table:
    front = [trial for trial in data.trials if trial.number in data.pareto]
    rows = [
        (
            trial.number,
            f"{trial.drop:+.6f}",
            format_bytes(trial.model_bytes),
            f"{trial.samples_per_s:,.0f}" if trial.samples_per_s else "unknown",
            "accepted" if trial.accepted else "rejected",
            trial.recipe.describe(),
        )
        for trial in sorted(front, key=lambda trial: (trial.model_bytes, trial.number))
    ]
    return Table(
        "Trials that no other trial dominates in drop, size and speed",
        list(terms.all("trial", "drop", "size", "samples/s", "verdict", "recipe")),
        rows,
    )


def _reliability(data: ReportData, terms: Terms) -> Table:
    columns = [
        heading
        for model in ("fp32", "int8")
        for heading in (
            terms.named("predicted", f"{model} predicted"),
            terms.named("observed", f"{model} observed"),
            terms["rows"],
        )
    ]
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


def _model_bytes(data: ReportData, terms: Terms) -> Table:
    manifest = data.manifest
    tables_before = sum(table.fp32_bytes for table in data.table_sizes)
    mlps_after = max(manifest.int8_bytes - manifest.table_bytes, 0)
    rows = [
        _before_and_after("all tables", tables_before, manifest.table_bytes),
        _before_and_after("layers", manifest.fp32_bytes - tables_before, mlps_after),
        _before_and_after("model", manifest.fp32_bytes, manifest.int8_bytes),
    ]
    return Table("", list(terms.all("", "bytes in fp32", "bytes in the artifact", "share")), rows)


def _columns(data: ReportData) -> Table:
    lines = [] if data.columns is None else column_lines(data.columns)
    rows = [(kind, *words.partition(": ")[::2]) for kind, words in lines]
    return Table("Columns of the rows", ("", "names", "values"), rows)


def _table_bytes(data: ReportData, terms: Terms) -> Table:
    rows = [
        (
            index,
            name,
            f"{table.rows:,}",
            table.dtype,
            *_before_and_after("", table.fp32_bytes, table.artifact_bytes)[1:],
        )
        for index, (name, table) in enumerate(zip(data.table_names, data.table_sizes, strict=True))
    ]
    names = ("table", "column", "rows of the table", "dtype", "bytes in fp32", "bytes in the artifact", "share")
    return Table("", list(terms.all(*names)), rows)


def _before_and_after(name: str, before: int, after: int) -> tuple[str, str, str, str]:
    return name, f"{before:,}", f"{after:,}", f"{after / before:.1%}" if before else ""


def _trials(data: ReportData, terms: Terms) -> Table:
    rows = [
        (
            trial.number,
            _state(trial),
            "" if trial.verdict is None else f"{trial.drop:+.6f}",
            f"{trial.rows:,}" if trial.rows else "",
            format_bytes(trial.model_bytes) if trial.model_bytes else "",
            f"{trial.samples_per_s:,.0f}" if trial.samples_per_s else "",
            trial.recipe.describe(),
            trial.reason,
        )
        for trial in data.trials
    ]
    names = ("trial", "verdict", "drop", "rows read", "size", "samples/s", "recipe", "reason")
    return Table("", list(terms.all(*names)), rows)


def _state(trial: Trial) -> str:
    if trial.verdict is None:
        return "failed" if trial.failed else "not scored"
    return "accepted" if trial.accepted else "rejected"


def _settings(data: ReportData) -> Table:
    meanings = settings_meanings()
    rows = [(name, value, meanings.get(name, "")) for name, value in _flat(data.settings)]
    return Table("", ("setting", "value", "meaning"), rows, of_facts=True)


def _recipe(data: ReportData, terms: Terms) -> Table:
    ops = {name: op["dtype"] for name, op in data.manifest.ops.items()}
    whole = {name: value for name, value in data.manifest.recipe.items() if isinstance(value, str)}
    return Table("", [terms["op"], terms["dtype"]], [*whole.items(), *ops.items()], of_facts=True)


def _provenance(data: ReportData) -> Table:
    certificate = data.certificate
    facts = {
        "created": certificate.created,
        "fingerprint of the dataset": certificate.dataset_fingerprint,
        "fingerprint of the fp32 model": certificate.model_fingerprint,
        "calibration rows": f"{data.calibration_rows:,}",
        "batch size": f"{certificate.batch_size:,}",
        "integer ops of one forward pass": _in_words(certificate.int8_ops),
        "kernels": _in_words(certificate.kernels),
        **{fact_name(name): _in_words(value) for name, value in certificate.machine.items()},
    }
    return Table(
        "", ("fact", "value", "meaning"), [(*fact, FACTS.get(fact[0], "")) for fact in facts.items()], of_facts=True
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
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
