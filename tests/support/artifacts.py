"""Artifacts of the tiny model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.row_sets import RowSets
from dlrm_pl.quantization.search.tune import TuningSettings
from tests.support import tiny
from tests.support.documents import with_value

RANGES = {
    "calibration": RowRange("val", 0, 128),
    "tuning": RowRange("val", 128, 2128),
    "certification": RowRange("test", 0, 3000),
}


def data(**changes: object) -> RowSets:
    values = {
        "calibration": tiny.batches(2, 64, seed=1),
        "tuning": tiny.batches(2, 1000, seed=2),
        "certification": tiny.batches(3, 1000, seed=3),
        "row_ranges": RANGES,
        "dataset_fingerprint": "feedc0de",
        "batch_size": 1000,
        "best_possible_auroc": None,
    }
    return RowSets(**(values | changes))  # type: ignore[arg-type]


def build(output: Path, **criterion: float) -> Outcome:
    settings = TuningSettings(criterion=Criterion(**(criterion or {"relative": 0.02})), max_trials=5)  # type: ignore[arg-type]
    return build_artifact(tiny.model(), data(), settings, str(output))


def sign(folder: Path) -> None:
    """Recompute all checksums of a changed artifact, as a forger would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    if isinstance(manifest.get("files"), dict):
        for name in manifest["files"]:
            if (folder / name).is_file():
                manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    manifest.pop("checksum", None)
    manifest["checksum"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change(folder: Path, file: str, path: tuple[Any, ...], value: Any) -> None:
    """Change one value in a JSON file of an artifact, and recompute its checksums."""
    contents = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(with_value(contents, path, value)))
    sign(folder)


def change_certificate(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the certificate in place with a function, and recompute the artifact's checksums."""
    certificate = json.loads((folder / "certificate.json").read_text())
    edit(certificate)
    (folder / "certificate.json").write_text(json.dumps(certificate))
    sign(folder)


def change_manifest(folder: Path, edit: Callable[[Manifest], object]) -> None:
    """Change the manifest in place with a function, and write it with its checksum."""
    manifest = Manifest.read(folder)
    edit(manifest)
    manifest.write(folder)
