"""One-line ``repr`` and HTML table of an artifact, or of a quantization's outcome, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.summary import comparison, drop_line, verdict_line
from dlrm_pl.files.sizes import format_bytes


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    """Write a table as HTML, with all texts escaped.

    Args:
        caption: text above the table.
        header: names of the columns.
        rows: rows with as many cells as the header.
        note: text below the table; empty for none.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    below = f"<p>{escape(note)}</p>" if note else ""
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
    )


def artifact_html(path: Path, manifest: Manifest, certificate: Certificate) -> str:
    """Return fp32 and int8 side by side as an HTML table, with the verdict above and the AUROC drop below."""
    caption = f"{path}: {verdict_line(certificate)}"
    return html_table(
        caption, ("", "fp32", "int8", "difference"), comparison(manifest, certificate), drop_line(certificate)
    )


def artifact_line(kind: str, path: Path, manifest: Manifest, certificate: Certificate) -> str:
    """Return a one-line ``repr``: the kind of object, its path, verdict, AUROC and size."""
    auroc = " -> ".join(f"{scores['auroc']:.6f}" for scores in (certificate.fp32, certificate.int8))
    size = " -> ".join(format_bytes(size) for size in (manifest.fp32_bytes, manifest.int8_bytes))
    return f"{kind}({str(path)!r}, {certificate.outcome}, AUROC {auroc}, size {size})"
