"""Download an artifact from the Hugging Face Hub."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dlrm_pl.artifact.hub.library import HubRepository
from dlrm_pl.artifact.manifest import FILE_NAME, Manifest
from dlrm_pl.errors import ArtifactError


def download_artifact(
    repo_id: str,
    revision: str | None = None,
    *,
    cache_dir: Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Download exactly the files that a manifest names, unless they are in the cache.

    Args:
        repo_id: repository, ``user/name``.
        revision: branch, tag or commit; None: the branch ``main``.
        cache_dir: folder of the cache; None: huggingface_hub's own.
        local_files_only: use only the cache.
        force_download: download files that are in the cache as well.

    Returns:
        The artifact folder in the cache. Its files are not compared with their checksums yet.

    Raises:
        HubError: there is no such repository or revision, or it cannot be reached and is not in the cache.
        ArtifactError: the repository does not hold an artifact.
    """
    download = partial(
        HubRepository(repo_id).download,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    folder = download([FILE_NAME], revision)
    if not (folder / FILE_NAME).is_file():
        raise ArtifactError(
            f"{repo_id}: holds no artifact: {FILE_NAME} is missing. Give a repository that an artifact was pushed to."
        )
    manifest = Manifest.read(folder)
    # Use the commit's hash, since the branch may move in the meantime.
    return download([FILE_NAME, *manifest.files], folder.name)
