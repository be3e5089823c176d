"""The delta of a refreshed artifact: the artifact without the tables that it shares with its predecessor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrm_pl.artifact.files import shareable_names
from dlrm_pl.artifact.manifest import FILE_NAME, Manifest
from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.artifact.store import recognize_artifact
from dlrm_pl.files.atomic import atomic_folder
from dlrm_pl.files.replacement import PlannedOutput
from dlrm_pl.files.sharing import share_file


def delta_path(output: Path) -> Path:
    """Return the folder of the delta that is written next to an artifact."""
    return output.with_name(f"{output.name}.delta")


def planned_delta(made_from: Mapping[str, Any], overwrite: bool) -> PlannedOutput:
    """Describe the delta that is about to be written, and what it may replace."""
    return PlannedOutput("quantize", made_from, recognize_artifact, overwrite)


def write_delta(output: Path, base: RefreshBase, planned: PlannedOutput) -> int:
    """Write the delta of a finished artifact: hard links to its files, without those shared with the base.

    Its manifest is the artifact's, so the delta and the base's files together are the artifact.

    Args:
        output: the artifact folder.
        base: the artifact that it was refreshed from.
        planned: see ``planned_delta``.

    Returns:
        Bytes of the files of the delta.

    Raises:
        OutputError: the folder cannot be written.
    """
    manifest = Manifest.read(output)
    stated, shareable = base.artifact.manifest.files, shareable_names(manifest)
    size = 0
    with atomic_folder(delta_path(output), planned) as folder:
        for name, checksum in (*manifest.files.items(), (FILE_NAME, "")):
            if name in shareable and stated.get(name) == checksum:
                continue
            share_file(output / name, folder / name)
            size += (folder / name).stat().st_size
    return size
