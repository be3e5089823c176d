"""An edited certificate contradicts itself and is refused, even if its checksums were recomputed."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.artifact.certificate.file import read_certificate
from dlrm_pl.artifact.manifest import CERTIFICATE_NAME, RESULT_NAME, Manifest, file_sha256
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.artifact.writing.result_file import check_result
from dlrm_pl.errors import ArtifactError
from dlrm_pl.inspection import describe
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice
from dlrm_pl.quantization.search.tune import TuningSettings
from tests.support import tiny
from tests.support.artifacts import data

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    criterion = Criterion(relative=0.02, worst_slice=WorstSlice(by="C2", tolerance=0.2, slices=4))
    settings = TuningSettings(criterion=criterion, max_trials=2)
    return build_artifact(tiny.model(), data(), settings, tmp_path_factory.mktemp("built") / "artifact")


@pytest.fixture
def folder(built: Outcome, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.path, tmp_path / "artifact"))


def edit(folder: Path, change: Change, name: str = CERTIFICATE_NAME, *, sign: bool = True) -> None:
    """Change a document and update its checksum in the manifest, as a forger would."""
    contents = json.loads((folder / name).read_text())
    before = copy.deepcopy(contents)
    change(contents)
    assert contents != before
    (folder / name).write_text(json.dumps(contents))
    if sign:
        manifest = Manifest.read(folder)
        manifest.files[name] = file_sha256(folder / name)
        manifest.write(folder)


def guard(contents: dict[str, Any], number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = contents["guards"][number]
    return found


EDITS: dict[str, tuple[Change, str]] = {
    "drop": (lambda c: c.update(auroc_drop=1e-6), r"auroc_drop 1e-06, but fp32\.auroc - int8\.auroc is 0\.00099"),
    "drop and relative": (lambda c: c.update(auroc_drop=0.0, auroc_drop_relative=0.0), "auroc_drop 0, but fp32.auroc"),
    "relative": (lambda c: c.update(auroc_drop_relative=0.0), "auroc_drop_relative 0, but"),
    "interval": (lambda c: c.update(auroc_drop_interval=[0.0, 0.0]), "auroc_drop_interval"),
    "reversed": (lambda c: c["auroc_drop_interval"].reverse(), "auroc_drop_interval"),
    "upper bound": (lambda c: c.update(auroc_drop_at_most=0.0011), "auroc_drop_at_most 0.0011, but"),
    "lower bound": (lambda c: c.update(auroc_drop_at_least=None), "auroc_drop_at_least None, but"),
    "error": (lambda c: c.update(auroc_drop_standard_error=1e-5), "auroc_drop_at_least"),
    "confidence": (lambda c: c.update(confidence=0.6), "auroc_drop_at_least"),
    "rows": (lambda c: c.update(rows=3_000_000), "rows 3000000, but row_ranges.certification has 3000"),
    "clicks": (lambda c: c.update(positives=3000), "positives is 3000, of 3000 rows"),
    "entropy": (lambda c: c["int8"].update(normalized_entropy=0.5), "int8.normalized_entropy 0.5, but log_loss"),
    "auroc": (lambda c: c["fp32"].update(auroc=1.2), "fp32.auroc: 1.2 must be a number between 0 and 1"),
    "tolerance": (lambda c: c.update(tolerance=0.0015), "outcome is 'accepted', but AUROC drop 0.1"),
    "failed": (lambda c: c.update(tolerance=-0.5), "outcome is 'accepted', but AUROC drop 0.1"),
    "outcome": (lambda c: c.update(outcome="undecided"), "accepted is True, but outcome is 'undecided'"),
    "undecided": (lambda c: c.update(outcome="undecided", accepted=False), "outcome is 'undecided', but every bound"),
    "needed": (lambda c: c.update(rows_needed=5), "rows_needed is 5, but outcome is 'accepted'"),
    "guard": (lambda c: guard(c).update(change=0.0), "the guard log_loss: change 0, but after / before - 1"),
    "guard before": (lambda c: guard(c).update(before=0.4), "the guard log_loss: before 0.4, but fp32.log_loss is"),
    "guard bound": (lambda c: guard(c, 2).update(at_most=0.0), "the guard calibration_ratio: at_most 0, but change"),
    "guard passed": (lambda c: guard(c).update(tolerance=1e-9), "the guard log_loss: passed is True, but"),
    "guard left out": (lambda c: guard(c).pop("passed"), "guards.0.passed is missing"),
    "guard of text": (lambda c: guard(c).update(change="x"), "guards.0.change: 'x' must be a number"),
    "slice": (lambda c: c["worst_slice"]["worst"].update(drop=0.0), r"the worst slice .*: drop 0, but its scores"),
    "slice rows": (lambda c: c["worst_slice"]["worst"].update(rows=9000), "clicks among 9000 rows, of 3000"),
    "slice bound": (lambda c: c["worst_slice"].update(at_most=-1.0), "at_most is -1.0, below its drop"),
    "slice floor": (lambda c: c["worst_slice"].update(at_least=0.9), "at_least is 0.9, above its drop"),
    "slice passed": (lambda c: c["worst_slice"].update(passed=None), "passed is None, but its drop and tolerance say"),
    "no rows": (lambda c: c.update(rows=0), "outcome is 'accepted', but no row was scored"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_number_that_does_not_follow_from_the_others_is_found(folder: Path, name: str) -> None:
    change, message = EDITS[name]
    edit(folder, change)
    with pytest.raises(ArtifactError, match=message):
        read_certificate(folder)


def test_resigned_certificate_is_neither_loaded_nor_shown(folder: Path) -> None:
    edit(folder, EDITS["drop and relative"][0])
    with pytest.raises(ArtifactError, match=r"contradicts itself: .* The file was modified after it was written"):
        load_artifact(folder)
    with pytest.raises(ArtifactError, match="contradicts itself"):
        describe(folder)


@pytest.mark.parametrize("name", [CERTIFICATE_NAME, RESULT_NAME])
def test_inspect_finds_an_edited_document(folder: Path, name: str) -> None:
    """Even a consistent one, because its checksum differs from the manifest's."""
    edit(folder, lambda contents: contents.update(reason="it is very good"), name, sign=False)
    with pytest.raises(ArtifactError, match=f"{name}: checksum mismatch with manifest"):
        describe(folder)


def test_documents_that_contradict_each_other_are_found(folder: Path) -> None:
    edit(folder, lambda contents: contents.update(model_fingerprint="another"))
    with pytest.raises(ArtifactError, match=r"model_fingerprint is 'another' in certificate.json, but"):
        load_artifact(folder)


def test_result_that_says_something_else_is_found(folder: Path) -> None:
    edit(folder, lambda contents: contents.update(accepted=False), RESULT_NAME)
    with pytest.raises(ArtifactError, match=r"result.json: accepted is False, but True in certificate.json"):
        check_result(folder, read_certificate(folder))
    with pytest.raises(ArtifactError, match="accepted is False"):
        describe(folder)


def test_inspect_says_what_it_did_not_check(folder: Path) -> None:
    shown = describe(folder)
    assert "checked       all files by their checksums, and that the certificate agrees with itself" in shown
    assert "not checked   the metrics: `verify` scores the model again" in shown
