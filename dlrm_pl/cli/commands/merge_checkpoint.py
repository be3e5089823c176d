"""Merge a checkpoint of several processes into one file."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.commands.progress import bytes_bar
from dlrm_pl.cli.output import Report
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.destinations import check_file


def merge_checkpoint(path: str, output: str | None = None, overwrite: bool = False) -> Report:
    """Copy a sharded checkpoint, which is a folder, to a single file.

    ``validate``, ``predict``, ``quantize``, ``inspect`` and so on can read the folder too; a single file is easier to
    keep and to pass on. Tables are copied block by block, so they may be larger than memory.

    Args:
        path: folder that ``fit`` wrote with ``trainer.strategy: sharded``, such as step=1000.ckpt.
        output: the checkpoint to write; required.
        overwrite: replace an existing file of that name.
    """
    from dlrm_pl.inspection import inspect_path
    from dlrm_pl.model.checkpoints.sharded.merging import Merge

    if output is None:
        raise ConfigurationError("merge-checkpoint needs an output file. Give --output FILE.ckpt.")
    check_file(output, overwrite)
    merge = Merge(Path(path))
    with bytes_bar("merge-checkpoint", merge.nbytes) as advance:
        merge.write(Path(output), progress=advance)
    description = inspect_path(Path(output))
    return Report(description.to_dict(), str(description))
