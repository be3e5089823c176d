"""Export an artifact's model to a format of other programs, after checking that it computes the same there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dlrm_pl.artifact.files import table_names
from dlrm_pl.artifact.manifest import CERTIFICATE_NAME, WEIGHTS_NAME
from dlrm_pl.artifact.store import Artifact
from dlrm_pl.artifact.verification.originals import certified_rows, open_dataset
from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.documents.json_text import object_in, object_with, read_json
from dlrm_pl.errors import ArtifactError, ConfigurationError, VerificationError
from dlrm_pl.export.check import TOLERANCE, Check, check
from dlrm_pl.export.numbers import numbers_of
from dlrm_pl.export.onnx.target import OnnxTarget
from dlrm_pl.export.openvino.target import OpenVinoTarget
from dlrm_pl.export.target import Target, TargetName
from dlrm_pl.export.torch_export.target import Pt2Target
from dlrm_pl.files.atomic import atomic_folder
from dlrm_pl.files.free_space import require_free_space
from dlrm_pl.files.replacement import FinishedOutput, PlannedOutput
from dlrm_pl.memory import require_memory
from dlrm_pl.version import __version__

FILE_NAME = "export.json"
FORMAT = 1
TARGETS: dict[TargetName, Target] = {"onnx": OnnxTarget(), "pt2": Pt2Target(), "openvino": OpenVinoTarget()}

_BATCH_SIZE = 2048
_OTHER_BYTES = 64 << 20  # Graph, MLPs and descriptions.


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        path: folder with the files.
        target: their format.
        files: names of the files, the model first.
        check: how far the exported model is from the artifact.

    Example:
        >>> from dlrm_pl import export_artifact, load_artifact
        >>> artifact = load_artifact("artifacts/quickstart")
        >>> exported = export_artifact(artifact, "onnx", "exported/again", "datasets/quickstart", rows=100)
        >>> exported.check.rows, exported.check.auroc == exported.check.artifact_auroc
        (100, True)
    """

    path: Path
    target: TargetName
    files: tuple[str, ...]
    check: Check


def export_artifact(
    artifact: Artifact,
    target: TargetName,
    output: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    rows: int | None = None,
    tolerance: float = TOLERANCE,
    force: bool = False,
    allow_not_accepted: bool = False,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Exported:
    """Write an artifact's model for other programs: the same integers, not another quantization.

    The written model is loaded in its own program and scores the certification rows; its logits are compared with the
    artifact's. The result and the certificate become part of the file.

    Args:
        artifact: the artifact.
        target: ``onnx``, ``pt2`` (torch.export) or ``openvino``.
        output: folder to write.
        data: dataset folder with the certification rows.
        rows: score only that many of them; None: all.
        tolerance: allowed difference of a logit. With the default the AUROC must be equal to six digits as well.
        force: accept a dataset other than the one that the artifact was made for.
        allow_not_accepted: also export a model that was not accepted.
        overwrite: replace another export in ``output``.
        progress: called with the number of rows of each batch that was scored.

    Raises:
        ConfigurationError: the artifact was not accepted, a part of it cannot be exported, a library is missing, an
            argument is out of range, or there is not enough memory to load the model in its program.
        VerificationError: the exported model is too far from the artifact; nothing is written then.
        DatasetError: it is another dataset.
        OutputError: the folder cannot be written, or the disk is too small.

    Example:
        >>> from dlrm_pl import export_artifact, load_artifact
        >>> artifact = load_artifact("artifacts/quickstart")
        >>> exported = export_artifact(artifact, "onnx", "exported", "datasets/quickstart", rows=1000)
        >>> exported.files, exported.check.largest_difference
        (('model.onnx',), 0.0)
    """
    check_arguments(export_artifact, {"artifact": artifact, "target": target, "output": output, "data": data})
    if not 0 <= tolerance < float("inf"):
        raise ConfigurationError(f"tolerance={tolerance} must be a non-negative number.")
    if rows is not None and rows < 2:
        raise ConfigurationError(f"rows={rows} must be at least 2.")
    if not artifact.certificate.accepted and not allow_not_accepted:
        raise ConfigurationError(
            f"{artifact.path}: was not accepted ({artifact.certificate.outcome}: {artifact.certificate.reason}). "
            "Give --allow_not_accepted to export it anyway."
        )
    exporter, folder = TARGETS[target], Path(output)
    exporter.require()
    numbers = numbers_of(artifact.model)
    if exporter.is_read_whole:
        advice = "Export to onnx or openvino, whose programs memory-map the file, or use a machine with more memory."
        require_memory(numbers.table_bytes, f"Checking the tables of a {target} file", advice)
    dataset = _rows_to_score(artifact, Path(data), force)
    example = next(iter(dataset.batches(_BATCH_SIZE)))
    manifest = artifact.manifest
    tables = "".join(manifest.files[name] for name in [*table_names(manifest), *sorted(manifest.patch_names)])
    settings = {
        "target": target,
        "weights": manifest.files[WEIGHTS_NAME],
        "tables": hashlib.sha256(tables.encode()).hexdigest(),
        "rows": rows,
        "tolerance": tolerance,
    }
    planned = PlannedOutput("export", settings, recognize_export, overwrite)
    with atomic_folder(folder, planned) as temporary:
        require_free_space(folder, exporter.copies * numbers.table_bytes + _OTHER_BYTES, "the tables")
        exporter.write(numbers, temporary, example)
        result = check(
            artifact.model,
            exporter.logits_of(temporary, torch.get_num_threads()),
            _first(dataset.batches(_BATCH_SIZE), rows),
            tolerance=tolerance,
            programs=exporter.programs(),
            progress=progress,
        )
        artifact.watch.check()
        if result.failure:
            raise VerificationError(
                f"{folder}: {result.failure}. Nothing was written. Export to another format, or allow the difference "
                "with --tolerance."
            )
        metadata = _metadata(artifact, target, result)
        exporter.describe(temporary, metadata)
        files = tuple(name for name in exporter.file_names if (temporary / name).is_file())
        contents = {"format": FORMAT, "settings": settings, "files": list(files)} | metadata
        (temporary / FILE_NAME).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    return Exported(folder, target, files, result)


def recognize_export(folder: Path) -> FinishedOutput | None:
    """Describe a folder that `export` wrote; None for other folders."""
    contents = object_with(folder / FILE_NAME, "settings")
    settings = object_in(contents, "settings") if contents else None
    if contents is None or settings is None or "target" not in settings:
        return None
    names = [name for target in TARGETS.values() for name in target.file_names if (folder / name).is_file()]
    return FinishedOutput("an exported model", "export", settings, (*names, FILE_NAME))


def _rows_to_score(artifact: Artifact, data: Path, force: bool) -> ClickDataset:
    """Return the certification rows; the test rows where none were certified."""
    if not artifact.certificate.rows:
        return ClickDataset.of_split(open_dataset(data, artifact, force), "test")
    dataset, _ = certified_rows(artifact, data, force)
    return dataset


def _first(batches: Iterable[ClickBatch], rows: int | None) -> Iterator[ClickBatch]:
    """Yield batches of the first rows."""
    left = rows
    for batch in batches:
        if left is None or batch.num_samples <= left:
            yield batch
        elif left:
            yield first_samples(batch, left)
        if left is not None:
            left = max(0, left - batch.num_samples)
            if not left:
                return


def _metadata(artifact: Artifact, target: TargetName, result: Check) -> dict[str, Any]:
    columns = artifact.columns
    names = {} if columns is None else {
        "dense": [{"name": column.name, "transform": column.transform} for column in columns.dense],
        "sparse": [column.name for column in columns.sparse],
    }  # fmt: skip
    certificate = read_json(artifact.path / CERTIFICATE_NAME, ArtifactError, "Quantize again.")
    return {
        "dlrm_pl": __version__,
        "target": target,
        "inputs": {
            "dense": "float32 [B, N], after the transform of each column",
            "indices": "int64 [B, T], ids; or with offsets [L], the bags of the first table first",
            "offsets": "int64 [T * B + 1], with bags only: where each bag begins, and where the last one ends",
        },
        "outputs": {"logit": "float32 [B]", "probability": "float32 [B]"},
        "columns": names,
        "check": asdict(result),
        "certificate": certificate,
    }
