"""An artifact as a page: its contents. The search and the certificate are in its own report.html."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.columns import stated_columns
from dlrm_pl.artifact.manifest import REPORT_NAME, RESULT_NAME, Manifest
from dlrm_pl.artifact.summary import drop_line, verdict_line
from dlrm_pl.artifact.writing.sensitivities import Sensitivities, Sensitivity
from dlrm_pl.documents.fields import Partial, make
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import ArtifactError
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.inspection import Description
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.pages.page import sentence
from dlrm_pl.pages.table import Table
from dlrm_pl.pages.terms import Term, Terms
from dlrm_pl.plots.artifact_figures import MOST_NAMED, Part, bytes_figure, dtypes_figure, sensitivities_figure
from dlrm_pl.plots.parts import Drawn, Portrait, Section
from dlrm_pl.runtime.tables import row_bytes

_EXPLAINED = {
    "fp32 bytes": "Bytes of the part in the float model that was quantized: 4 for each number.",
    "artifact bytes": "Bytes of the part in the artifact, with the scales of its rows.",
    "dtype": "Number format in which the weights are stored and the op computes.",
    "drop": "How much worse the model scores when this op alone is quantized; negative where it scores better.",
    "standard error": "Standard error of the drop; the whiskers extend 1.96 standard errors to each side.",
    "model": "Checksum of the shape and weights of the float model that was quantized.",
    "dataset": "Fingerprint of the dictionaries: where it is equal, ids stand for the same values.",
}


@dataclass(frozen=True)
class _Result(Partial):
    """The fields of ``result.json`` that are needed here."""

    sensitivities: dict[str, Any]


def artifact_portrait(description: Description) -> Portrait:
    """Describe an artifact in sections.

    Args:
        description: what ``inspect`` has found and checked.

    Raises:
        ArtifactError: ``result.json`` is damaged.
    """
    manifest, certificate = description.data["manifest"], description.data["certificate"]
    assert isinstance(manifest, Manifest)
    assert isinstance(certificate, Certificate)
    terms = Terms(_EXPLAINED)
    ops: dict[str, str] = dict(description.data["ops"])
    parts = parts_of(manifest)
    share = f"{manifest.int8_bytes / manifest.fp32_bytes:.1%}"
    lead = (
        f"{sentence(f'{verdict_line(certificate)}: {drop_line(certificate)}')} The artifact has "
        f"{format_bytes(manifest.int8_bytes)}, {share} of the float model's {format_bytes(manifest.fp32_bytes)}."
    )
    sections = [_bytes(parts, terms), _dtypes(ops, terms), *_sensitivities(description, ops, terms)]
    facts: list[tuple[str | Term, str]] = [
        ("folder", str(description.path)),
        (terms["model"], manifest.model_fingerprint),
        (terms["dataset"], manifest.dataset_fingerprint or "unknown"),
        ("certified on", f"{manifest.machine['processor']}, torch {manifest.machine['torch']}"),
        ("certified", certificate.created),
        ("search and certificate", f"see {REPORT_NAME} in the folder"),
    ]
    sections.append(Section("Facts", tables=[Table("", ("", ""), facts)]))
    title = f"Artifact {description.path.absolute().name}"
    return Portrait(title, lead, sections, list(certificate.warnings), terms)


def parts_of(manifest: Manifest) -> list[Part]:
    """Return all layers as one part, and each table, with their bytes before and after quantization."""
    architecture = Architecture.from_dict(manifest.architecture)
    columns = stated_columns(manifest.columns, architecture, "manifest.json")
    dim = architecture.embedding_dim
    tables = []
    for index, rows in enumerate(architecture.table_sizes):
        dtype = manifest.ops[f"tables.{index}"]["dtype"]
        name = f"table {index}" if columns is None else columns.sparse[index].name
        tables.append(Part(name, dtype, rows * row_bytes("fp32", dim), rows * row_bytes(dtype, dim)))
    before = manifest.fp32_bytes - sum(table.fp32_bytes for table in tables)
    after = manifest.int8_bytes - sum(table.artifact_bytes for table in tables)
    return [Part("layers", "", before, after), *tables]


def _bytes(parts: list[Part], terms: Terms) -> Section:
    caption = "Bytes of all layers together, and of each table, from zero."
    if len(parts) > MOST_NAMED:
        caption += f" The {MOST_NAMED} largest are named."
    headings = ("part", terms["dtype"], terms["fp32 bytes"], terms["artifact bytes"], "share")
    rows = [
        (
            part.name,
            part.dtype,
            f"{part.fp32_bytes:,}",
            f"{part.artifact_bytes:,}",
            f"{part.artifact_bytes / max(1, part.fp32_bytes):.1%}",
        )
        for part in parts
    ]
    return Section(
        "Bytes by part", figures=[Drawn(bytes_figure(parts), caption)], folded={"All parts": Table("", headings, rows)}
    )


def _dtypes(ops: dict[str, str], terms: Terms) -> Section:
    figure = Drawn(dtypes_figure(ops), "One box for each op, in the order of the model.")
    table = Table("", ("op", terms["dtype"]), list(ops.items()))
    return Section("Dtype of each op", figures=[figure], folded={"All ops": table})


def _sensitivities(description: Description, ops: dict[str, str], terms: Terms) -> Iterator[Section]:
    path = description.path / RESULT_NAME
    advice = "Quantize the model again."
    found = make(_Result, read_json(path, ArtifactError, advice), str(path), ArtifactError, advice).sensitivities
    measured = make(Sensitivities, found, f"{path}: sensitivities", ArtifactError, advice)
    figure = sensitivities_figure(measured.drops, ops)
    words = [[sentence(measured.source)]]
    if figure is None:
        yield Section("Sensitivities", words=words)
        return
    caption = "Bars to the right are drops, bars to the left gains; whiskers are 95 % intervals, where known."
    headings = ("op", terms["dtype"], terms["drop"], terms["standard error"])
    table = Table("", headings, [_row(drop) for drop in measured.drops])
    yield Section("Sensitivities", words=words, figures=[Drawn(figure, caption)], folded={"All measurements": table})


def _row(drop: Sensitivity) -> tuple[str, str, str, str]:
    error = "" if drop.standard_error is None else f"{drop.standard_error:.6f}"
    return drop.op, drop.dtype, f"{drop.drop:+.6f}", error
