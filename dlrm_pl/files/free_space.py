"""Check, before the work, that a disk has space for an output."""

from __future__ import annotations

import shutil
from pathlib import Path

from dlrm_pl.errors import OutputError
from dlrm_pl.files.destinations import resolved
from dlrm_pl.files.sizes import format_bytes


def require_free_space(
    path: Path, needed_bytes: float, purpose: str, advice: str = "Free some space, or choose another disk."
) -> None:
    """Check that the disk of an output, which need not exist yet, has enough free space.

    Args:
        path: output, which the error message names.
        needed_bytes: free space that the output needs.
        purpose: plural name of the contents, as the subject of "need 1 GiB".
        advice: sentence that says what to do if there is too little space.

    Raises:
        OutputError: the disk has less free space.
    """
    place = resolved(path)
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    if needed_bytes > free_bytes:
        raise OutputError(
            f"{path}: {purpose} need {format_bytes(needed_bytes)}, but the disk has {format_bytes(free_bytes)} free. "
            f"{advice}"
        )
