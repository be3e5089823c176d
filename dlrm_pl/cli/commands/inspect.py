"""Describe a folder or a file."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.commands.progress import bytes_bar
from dlrm_pl.cli.output import Report


def inspect(path: str, full: bool = False, checksums: bool = False) -> Report:
    """Describe a dataset folder, a checkpoint or an artifact on one screen.

    The last line tells what was compared with its checksum, and what was not.

    Args:
        path: a dataset folder, a checkpoint or an artifact folder.
        full: compare every byte of every file with its checksum; exit status 2 when one differs.
        checksums: of days in TorchRec's format with MLPerf's rows, compare all files with the published MD5 sums, which
            takes hours for all of them; exit status 2 names the first one that differs.
    """
    from functools import partial

    from dlrm_pl.inspection import inspect_path

    description = inspect_path(Path(path), full, checksums=checksums, progress=partial(bytes_bar, "md5"))
    return Report(description.to_dict(), str(description))
