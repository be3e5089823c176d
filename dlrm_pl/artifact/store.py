"""Load an artifact folder: no float model, nothing unpickled, weights memory-mapped."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.manifest import (
    CERTIFICATE_NAME,
    FILE_NAME,
    RESULT_NAME,
    WEIGHTS_NAME,
    Manifest,
    file_sha256,
)
from dlrm_pl.artifact.notebook import artifact_html, artifact_line
from dlrm_pl.artifact.tensors import from_tensors, to_tensors
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.errors import ArtifactError, ConfigurationError, ShapeError
from dlrm_pl.files.replacement import FinishedOutput
from dlrm_pl.files.watched import Watch, WatchedFile
from dlrm_pl.kernels.int8.pages import Pages, place
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.table_file import file_name, map_table
from dlrm_pl.scoring import ROWS_AT_A_TIME, Probabilities, Scorer

log = logging.getLogger(__name__)

Checksums = Literal["auto", "always", "never"]

# Below this, checking every byte at load costs less than a second.
_QUICK_BYTES = 2**30
# Up to here, of a larger artifact: all but tables, and small ones.
_SMALL_BYTES = 2**24


@dataclass(frozen=True)
class Artifact:
    """What an artifact folder holds.

    Attributes:
        path: the folder.
        model: ready to serve.
        manifest: what it is.
        certificate: what it lost.
        watch: over its files, which must not be changed in place while the model is used.
    """

    path: Path
    model: Int8DLRM
    manifest: Manifest
    certificate: Certificate
    watch: Watch = field(default_factory=Watch, compare=False)

    def predict(self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME) -> Probabilities:
        """Score rows with the model, see ``Scorer.predict``; for request after request, make a ``Predictor``."""
        architecture = self.model.architecture
        scorer = Scorer(self.model, architecture.bottom_mlp[0], architecture.num_tables, self.watch)
        return scorer.predict(rows, batch_size=batch_size)

    def __repr__(self) -> str:
        """Name the folder, its verdict, AUROC and size in one line."""
        return artifact_line("Artifact", self.path, self.manifest, self.certificate)

    def _repr_html_(self) -> str:
        """Show fp32 beside int8 in a notebook."""
        return artifact_html(self.path, self.manifest, self.certificate)


def recognize_artifact(folder: Path) -> FinishedOutput | None:
    """What a folder says of itself that `quantize` wrote; None for others."""
    manifest = object_with(folder / FILE_NAME, "format")
    if manifest is None:
        return None
    result = object_with(folder / RESULT_NAME, "made_from")
    settings = object_in(result, "made_from") if result else None
    return FinishedOutput("an artifact", "quantize", settings, (*(object_in(manifest, "files") or ()), FILE_NAME))


def save_weights(model: Int8DLRM, folder: Path) -> None:
    """Write ``model.safetensors``: all but the tables.

    Raises:
        OSError: it cannot be written, with the reason's ``errno``.
    """
    tensors, _ = to_tensors(model)
    # Written by name order of the ops, so that the same model gives the same bytes.
    path = folder / WEIGHTS_NAME
    path.touch()
    mode = path.stat().st_mode  # As the user's other files: the library's are for their owner alone.
    try:
        save_file(tensors, path, metadata={"format": "pt"})
        path.chmod(mode)
    except SafetensorError as error:
        # The library tells the operating system's reason in its text alone.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load_artifact(path: str | Path, checksums: Checksums = "auto", pages: Pages = "mapped") -> Artifact:
    """Load an artifact.

    Args:
        path: the folder.
        checksums: compare every byte with the manifest: always, never, or (auto) of the small files always, and of all
            only when they are below 1 GiB together; what is left out is logged. Sizes, shapes and dtypes are always
            checked.
        pages: ``mapped``: tables are read from the mapped file where they are touched, so that loading takes no
            time and no memory; ``prefault``: read ahead; ``huge``: copied to memory with 2 MiB pages, the fastest.

    Raises:
        ArtifactError: missing, incomplete, damaged or changed files, also such that change meanwhile; names the file.
    """
    folder = Path(path).expanduser()
    # Open from here on, so that nothing can take the place of a file that was looked at without being seen.
    first = _watched([folder / FILE_NAME])
    manifest = Manifest.read(folder)
    _check_complete(folder, manifest)
    names = (WEIGHTS_NAME, CERTIFICATE_NAME, *table_names(manifest))
    watch = Watch([*first, *_watched([folder / name for name in names if name in manifest.files])])
    if checksums != "never":
        left = large_files(folder, manifest) if checksums == "auto" else {}
        check_files(folder, manifest, without=left.keys())
        if left:
            log.info(
                "%s: %s bytes of tables are not compared with their checksums; `inspect --full true` does that",
                *(folder, f"{sum(left.values()):,}"),
            )
    for name in names:
        if name not in manifest.files:
            raise ArtifactError(f"{folder / FILE_NAME}: has no checksum of {name}. Quantize again.")
    model = load_model(folder, manifest, pages)
    certificate = read_certificate(folder, manifest)
    for file in watch.files:
        file.check_named()
    return Artifact(path=folder, model=model, manifest=manifest, certificate=certificate, watch=watch)


def read_certificate(folder: Path, manifest: Manifest) -> Certificate:
    """The certificate of an artifact, which agrees with itself and with the manifest.

    Raises:
        ArtifactError: it does not; names what differs.
    """
    certificate = Certificate.read(folder)
    for name in ("accepted", "model_fingerprint", "dataset_fingerprint", "recipe"):
        ours, theirs = getattr(certificate, name), getattr(manifest, name)
        if ours != theirs:
            raise ArtifactError(
                f"{folder}: {name} is {ours!r} in {CERTIFICATE_NAME}, but {theirs!r} in {FILE_NAME}. One of the two "
                "was changed after it was written; do not believe it, and quantize again."
            )
    return certificate


def large_files(folder: Path, manifest: Manifest) -> dict[str, int]:
    """Sizes of the files that would take long to read; none where all of them together do not."""
    sizes = {name: (folder / name).stat().st_size for name in manifest.files}
    if sum(sizes.values()) <= _QUICK_BYTES:
        return {}
    return {name: size for name, size in sizes.items() if size > _SMALL_BYTES}


def check_files(folder: Path, manifest: Manifest, without: Collection[str] = ()) -> None:
    """Compare every byte of an artifact's files with the manifest.

    Args:
        folder: the artifact.
        manifest: its.
        without: names of files to leave out.

    Raises:
        ArtifactError: one is missing, or was changed; names it.
    """
    _check_complete(folder, manifest)
    for name, expected in manifest.files.items():
        if name not in without and file_sha256(folder / name) != expected:
            raise ArtifactError(
                f"{folder / name}: was changed after it was written: its sha256 is not the {expected[:12]}... of "
                "the manifest. Do not use it; quantize again or copy it anew."
            )


def _watched(paths: Sequence[Path]) -> list[WatchedFile]:
    """The files that are there, opened; what is missing is said by whoever needs it."""
    return [WatchedFile(path, ArtifactError) for path in paths if path.is_file()]


def _check_complete(folder: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name}: is missing. The artifact is incomplete; quantize again.")


def load_model(folder: Path, manifest: Manifest, pages: Pages = "mapped") -> Int8DLRM:
    """The model alone, from weights that were just written or whose checksums are known to be right."""
    tensors = _read_tensors(folder / WEIGHTS_NAME)
    tables = [place(map_table(folder / name), pages) for name in table_names(manifest)]
    try:
        return from_tensors(Architecture.from_dict(manifest.architecture), manifest.ops, tensors, tables)
    except (ArtifactError, ConfigurationError, ShapeError) as error:
        raise ArtifactError(f"{folder}: {error}") from error


def table_names(manifest: Manifest) -> list[str]:
    """Names of the files of the packed tables, in order."""
    count = sum(name.startswith("tables.") for name in manifest.ops)
    return [file_name(index, manifest.ops[f"tables.{index}"]["dtype"]) for index in range(count)]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({str(error)[:200]}). The file is damaged; quantize again."
        ) from error
