"""docs/formats.md names every field of every document, and every field that it names exists."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.kernels.int8.rows import TABLE_DTYPES, row_bytes
from dlrm_pl.quantization.judging.certified_guard import CertifiedGuard
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice, SliceDrop
from dlrm_pl.quantization.judging.slices.worst_slice import SliceReading
from dlrm_pl.quantization.recipe import Recipe
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "formats.md").read_text()


def section(heading: str) -> str:
    """Return the text of a section of the page, up to the next heading."""
    text = PAGE.partition(f"\n{heading}\n")[2]
    assert text, heading
    return re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0]


def names_in(text: str) -> set[str]:
    return set(re.findall(r"`([\w-]+)`", text))


def rows_of(text: str) -> set[str]:
    """Return the names in the first column of the tables of a section."""
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "parts"),
    [
        ("### `manifest.json`", (Manifest,)),
        ("### `certificate.json`", (Certificate, CertifiedGuard, CertifiedSlice, SliceDrop)),
    ],
)
def test_every_field_of_a_document_is_on_the_page(heading: str, parts: tuple[Any, ...]) -> None:
    named = names_in(section(heading))
    for part in parts:
        assert {field.name for field in fields(part)} - named == set(), part
    stated = rows_of(section(heading)) - {field.name for field in fields(parts[0])}
    assert stated <= {"format", "checksum", "warnings"}


def test_documents_of_an_artifact_have_the_fields_of_the_page(quickstart: Path) -> None:
    artifact = quickstart / "artifacts" / "quickstart"
    result = json.loads((artifact / "result.json").read_text())
    trials = [json.loads(line) for line in (artifact / "trials.jsonl").read_text().splitlines()]
    text = section("### `result.json` and `trials.jsonl`")
    assert set(result) | set(trials[0]) == rows_of(text) - {"result"}
    parts = [result["search"], result["best"], result["sensitivities"]]
    for part in parts:
        assert set(part) <= names_in(text)
    certificate = json.loads((artifact / "certificate.json").read_text())
    assert set(certificate) == rows_of(section("### `certificate.json`"))
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert set(manifest) == rows_of(section("### `manifest.json`")) - {"patches"}
    for op in manifest["ops"].values():
        assert set(op) <= names_in(section("### `manifest.json`"))
    written = {path.name for path in artifact.iterdir()}
    assert written - set(manifest["files"]) == {"manifest.json", "digests.safetensors"}


def test_description_of_a_dataset_has_the_fields_of_the_page(quickstart: Path) -> None:
    description = json.loads((quickstart / "datasets" / "quickstart" / "dataset.json").read_text())
    text = section("### `dataset.json`")
    assert set(description) <= rows_of(text)
    assert set(description["splits"]["train"]) <= names_in(text)


def test_fields_of_trials_and_recipes_are_named() -> None:
    assert {field.name for field in fields(Recipe)} <= names_in(section("### `manifest.json`"))
    slices = {"higher_is_better", "slice", "slices", "too_small", "degrees_of_freedom"}
    known = names_in(section("### `result.json` and `trials.jsonl`")) | names_in(section("### `certificate.json`"))
    assert {field.name for field in fields(SliceReading)} - slices <= known
    assert slices <= known


def test_bytes_of_rows_are_those_of_the_program() -> None:
    table = section("### Rows of a table")
    for dtype in TABLE_DTYPES:
        bytes_ = re.search(rf"^\| `{dtype}` \|.*\| ([\d, ]+) \|$", table, re.MULTILINE)
        assert bytes_ is not None
        assert bytes_[1] == ", ".join(str(row_bytes(dtype, dim)) for dim in (16, 64, 128))
