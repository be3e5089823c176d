"""Copy a sharded checkpoint to the file that a single process would have saved, table by table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.checkpoints.sharded.names import MARKER_NAME, is_sharded
from dlrm_pl.model.checkpoints.tensors import stored_tensors
from dlrm_pl.torch_file.writer import write_torch_file


class Merge:
    """A sharded checkpoint that is about to become one file.

    Args:
        source: folder of the checkpoint.

    Attributes:
        nbytes: number of bytes of its tensors.

    Raises:
        ConfigurationError: the source is not a folder with a sharded checkpoint.
        CheckpointError: the checkpoint is incomplete or corrupt.
    """

    def __init__(self, source: Path) -> None:
        if not is_sharded(source) and not (source.is_dir() and source.suffix == ".ckpt"):
            what = "is already a single file" if source.is_file() else "is not the folder of a sharded checkpoint"
            raise ConfigurationError(
                f"{source}: {what if source.exists() else 'does not exist'}. Give the folder with {MARKER_NAME} that "
                "`fit` wrote with trainer.strategy=sharded."
            )
        self._contents = open_checkpoint(source)
        self.nbytes = sum(tensor.nbytes for tensor, _ in stored_tensors(self._contents))

    def write(self, output: Path, progress: Callable[[int], None] | None = None) -> None:
        """Write the file, which appears whole or not at all, with memory for a few blocks of a table.

        Every byte is compared with the checksums of the source.

        Args:
            output: file to write; an earlier one is replaced at the end.
            progress: called with the number of bytes written since the last call.

        Raises:
            CheckpointError: the source is corrupt.
            OutputError: the disk has too little space, or the folder cannot be written.
        """
        write_torch_file(output, self._contents, progress=progress)
