"""Save a training with sharded tables: every process writes its part, and nothing is left where one fails."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save

from dlrm_pl.callbacks.checkpoint_state import same_state
from dlrm_pl.distributed.checkpoints.optimizer_forms import of_one_process
from dlrm_pl.distributed.checkpoints.pieces import pieces_of
from dlrm_pl.distributed.checkpoints.places import link_files, make_temporary, put_in_place
from dlrm_pl.distributed.checkpoints.planner import PiecesPlanner
from dlrm_pl.distributed.checkpoints.writer import FolderWriter
from dlrm_pl.distributed.sharded_tables import ShardedTables
from dlrm_pl.distributed.together import on_first, raise_failures
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.checkpoints.sharded.names import KEY, SavedPiece


class Saver:
    """Save the checkpoints of a training; one that has two names at a moment is written once.

    All methods are called on all processes with the same arguments, except for the pieces of tables.

    Args:
        rank: number of this process.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._saved: tuple[Path, bytes | None] | None = None  # On the first process.

    def save(
        self,
        path: str | Path,
        checkpoint: dict[str, Any],
        tables: ShardedTables,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        """Save a checkpoint to a folder, which appears whole or not at all.

        Args:
            path: the folder; an earlier checkpoint of this name is replaced at the end.
            checkpoint: contents as Lightning collected them.
            tables: tables of the model.
            optimizer: optimizer of the training, if its state is saved.

        Raises:
            NonFiniteError: a weight is NaN or infinite.
            OutputError: a process could not write its part; names it. An earlier checkpoint of this name is kept.
        """
        if "://" in str(path):
            raise ConfigurationError(
                f"{path}: checkpoints of sharded tables are written to a folder that all machines share. Give "
                "ModelCheckpoint a dirpath on a file system."
            )
        path, temporary, is_link, identity = on_first(lambda: self._begin(Path(path), checkpoint))
        try:
            if not is_link:
                dense, numbers = of_one_process(checkpoint, tables.settings, len(tables.shapes))
                dense |= {KEY: {"identity": identity, "numbers": numbers}}
                self._write(temporary, path, identity, dense, pieces_of(tables, optimizer), tables.shapes)
            on_first(lambda: put_in_place(temporary, path))
        finally:
            if self._rank == 0:
                shutil.rmtree(temporary, ignore_errors=True)
        if self._rank == 0 and not is_link:
            self._saved = path, same_state(checkpoint)

    def _begin(self, path: Path, checkpoint: dict[str, Any]) -> tuple[Path, Path, bool, str]:
        """Make the temporary folder, already filled where these weights were just saved under another name."""
        path = path.absolute()
        identity = secrets.token_hex(8)
        temporary = make_temporary(path, identity)
        is_link = False
        if self._saved is not None and self._saved[0] != path:
            first, state = self._saved
            is_same = state is not None and first.is_dir() and state == same_state(checkpoint)
            is_link = is_same and link_files(first, temporary)
        return path, temporary, is_link, identity

    def _write(
        self,
        temporary: Path,
        path: Path,
        identity: str,
        dense: dict[str, Any],
        pieces: Sequence[SavedPiece],
        shapes: Sequence[tuple[int, int]],
    ) -> None:
        try:
            save(
                {},
                storage_writer=FolderWriter(temporary, path, identity, self._rank, dense),
                planner=PiecesPlanner(pieces, shapes),
                no_dist=not dist.is_initialized(),
            )
        except CheckpointException as failed:
            raise_failures({rank: error for rank, (error, _) in failed.failures.items()})
            raise
