"""``manifest.json``: the contents of an artifact, and the checksums that tie its files together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dlrm_pl.artifact.stated import StatedManifest, check_ops
from dlrm_pl.documents.fields import make, shown
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import ArtifactError
from dlrm_pl.files.sizes import format_bytes

FORMAT = 3
_FORMAT_WITH_PATCHES = 4  # Earlier versions would ignore the patches, so they must not read such a manifest.
FILE_NAME = "manifest.json"
WEIGHTS_NAME = "model.safetensors"
CERTIFICATE_NAME = "certificate.json"
TRIALS_NAME = "trials.jsonl"
RESULT_NAME = "result.json"
REPORT_NAME = "report.html"


@dataclass(frozen=True, repr=False)
class Manifest:
    """Architecture, dtypes, sizes and checksums of an artifact.

    Attributes:
        architecture: architecture of the model, as ``Architecture.to_dict`` returns it.
        ops: dtype of each op by name, with the numbers of a layer that are not tensors.
        recipe: recipe of the model.
        fp32_bytes: bytes of the weights and tables of the float model.
        int8_bytes: bytes of the weights and tables of the quantized model.
        table_bytes: bytes of the packed tables alone.
        dataset_fingerprint: fingerprint of the dataset that the model was trained and calibrated on.
        model_fingerprint: fingerprint of the float model.
        machine: processor, its features, and versions of the software that made the artifact.
        accepted: whether the artifact was accepted.
        nonfinite_rows: number of rows of each float table whose NaN or infinity was read as 0; usually empty.
        files: sha256 of the other files, by name.
        model_checksum: checksum of all weights of the float model; empty in artifacts of earlier versions.
        columns: columns of the rows, as ``Columns.statement`` returns them; empty in earlier versions, and for models
            whose data had none.
        patches: files with changed rows, by the op of their table, to be applied in order; see ``quantize --refresh``.

    Example:
        >>> from dlrm_pl import load_artifact
        >>> manifest = load_artifact("artifacts/quickstart").manifest
        >>> manifest.int8_bytes < manifest.fp32_bytes
        True
    """

    architecture: dict[str, Any]
    ops: dict[str, dict[str, Any]]
    recipe: dict[str, Any]
    fp32_bytes: int
    int8_bytes: int
    table_bytes: int
    dataset_fingerprint: str
    model_fingerprint: str
    machine: dict[str, Any]
    accepted: bool
    nonfinite_rows: dict[str, int]
    files: dict[str, str]
    model_checksum: str = ""
    columns: dict[str, Any] = field(default_factory=dict)
    patches: dict[str, list[str]] = field(default_factory=dict)

    @property
    def patch_names(self) -> list[str]:
        """File names of all patches."""
        return [name for patches in self.patches.values() for name in patches]

    def __repr__(self) -> str:
        """The sizes and whether the artifact was accepted, in one line."""
        sizes = f"int8: {format_bytes(self.int8_bytes)}, fp32: {format_bytes(self.fp32_bytes)}"
        return f"Manifest({sizes}, accepted={self.accepted})"

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` with a checksum of its contents."""
        contents = {"format": _FORMAT_WITH_PATCHES if self.patches else FORMAT} | asdict(self)
        if not self.patches:
            del contents["patches"]
        contents["checksum"] = _checksum(contents)
        (folder / FILE_NAME).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read ``manifest.json`` and check it.

        Raises:
            ArtifactError: it is missing, not JSON, of another format, or was changed after it was written.
        """
        path = folder / FILE_NAME
        if not path.exists():
            raise ArtifactError(
                f"{folder}: not an artifact: {FILE_NAME} is missing. Give a folder that `quantize` wrote."
            )
        contents = read_json(path, ArtifactError, "Quantize again.")
        number = contents.get("format") if isinstance(contents, dict) else None
        if number not in (FORMAT, _FORMAT_WITH_PATCHES):
            raise ArtifactError(
                f"{path}: format {number!r}; this version reads formats {FORMAT} and {_FORMAT_WITH_PATCHES}. Quantize "
                "again."
            )
        stated = contents.pop("checksum", None)
        if stated != _checksum(contents):
            raise ArtifactError(
                f"{path}: its checksum does not match. The file was modified or corrupted. Copy the artifact again, "
                "or quantize again."
            )
        del contents["format"]
        make(StatedManifest, contents, str(path), ArtifactError, "Quantize again.")
        manifest = make(cls, contents, str(path), ArtifactError, "Quantize again.")
        check_ops(manifest.ops, f"{path}: ops")
        if strange := [name for name in manifest.files if Path(name).name != name]:
            raise ArtifactError(
                f"{path}: files: {shown(strange[0])} is not a file name in the artifact's folder. Quantize again."
            )
        for op in manifest.patches:
            if not op.startswith("tables.") or op not in manifest.ops:
                raise ArtifactError(f"{path}: patches: {shown(op)} is not a table of the model. Quantize again.")
        return manifest


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in bounded memory."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _checksum(contents: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
