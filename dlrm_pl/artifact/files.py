"""Locate the files of an artifact, and check that they are those of its manifest."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dlrm_pl.artifact.manifest import FILE_NAME, Manifest, file_sha256
from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME
from dlrm_pl.errors import ArtifactError
from dlrm_pl.runtime.table_name import file_name

log = logging.getLogger(__name__)

# In artifacts up to this size every byte is checked at load, which takes less than a second.
_QUICK_BYTES = 2**30
# In larger artifacts, only files up to this size are checked: small tables and everything that is not a table.
_SMALL_BYTES = 2**24


def table_names(manifest: Manifest) -> list[str]:
    """Return the file names of the packed tables, in order."""
    count = sum(name.startswith("tables.") for name in manifest.ops)
    return [file_name(index, manifest.ops[f"tables.{index}"]["dtype"]) for index in range(count)]


def shareable_names(manifest: Manifest) -> set[str]:
    """Return the names of the files that a delta omits if they equal those of its base."""
    return {*table_names(manifest), *manifest.patch_names, VOCABULARY_NAME}


def places_of(folder: Path, manifest: Manifest, bases: Sequence[Path] = ()) -> dict[str, Path]:
    """Find the files of an artifact: in its folder, or, if a delta omits them, in another artifact's folder.

    Args:
        folder: the artifact folder.
        manifest: the manifest in it.
        bases: folders of artifacts that may have the files that a delta leaves out, which are recognized by their
            checksums.

    Raises:
        ArtifactError: a file is missing, in the other artifacts as well; the message names it.
    """
    places = {name: folder / name for name in manifest.files}
    missing = [name for name, path in places.items() if not path.is_file()]
    if not missing:
        return places
    shareable = shareable_names(manifest)
    if others := [name for name in missing if name not in shareable]:
        raise ArtifactError(f"{folder / others[0]}: is missing. The artifact is incomplete; quantize again.")
    if not bases:
        raise ArtifactError(
            f"{folder / missing[0]}: is missing. If {folder} is a delta, copy its files over a copy of the artifact "
            "that it updates, or pass that artifact to load_artifact as one of its bases; otherwise quantize again."
        )
    stated = {base: _stated_files(base) for base in bases}
    for name in missing:
        there = [base for base in bases if stated[base].get(name) == manifest.files[name] and (base / name).is_file()]
        if not there:
            raise ArtifactError(
                f"{folder}: is a delta, but not of {', '.join(map(str, bases))}: there is no {name} with checksum "
                f"{manifest.files[name][:12]}... there. Apply it to the artifact that it was made from."
            )
        places[name] = there[0] / name
    return places


def _stated_files(base: Path) -> dict[str, str]:
    """Return the checksums that an artifact states; none if it is damaged, so that another one may have the files."""
    try:
        return Manifest.read(base).files
    except ArtifactError as error:
        log.warning("%s", error)
        return {}


def large_files(places: Mapping[str, Path]) -> dict[str, int]:
    """Return the sizes of the files that take long to read; empty if all files together are quick to read."""
    sizes = {name: path.stat().st_size for name, path in places.items()}
    if sum(sizes.values()) <= _QUICK_BYTES:
        return {}
    return {name: size for name, size in sizes.items() if size > _SMALL_BYTES}


def check_files(places: Mapping[str, Path], manifest: Manifest, without: Collection[str] = ()) -> None:
    """Compare every byte of an artifact's files with the checksums in the manifest.

    Args:
        places: the files by name, as ``places_of`` finds them.
        manifest: the manifest.
        without: names of files to skip.

    Raises:
        ArtifactError: a file does not match its checksum; the message names it.
    """
    for name, expected in manifest.files.items():
        if name not in without and file_sha256(places[name]) != expected:
            raise ArtifactError(
                f"{places[name]}: checksum mismatch with {FILE_NAME} (sha256 {expected[:12]}...): The file was "
                "modified or corrupted. Copy the artifact again, or quantize again."
            )
