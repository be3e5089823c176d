"""Save training with sharded tables: every process writes its part, and nothing is left if one fails."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save

from dlrm_pl.callbacks.checkpoint_state import same_state
from dlrm_pl.distributed.checkpoints.optimizer_forms import of_one_process
from dlrm_pl.distributed.checkpoints.pieces import pieces_of
from dlrm_pl.distributed.checkpoints.places import give_second_name, make_temporary, put_in_place
from dlrm_pl.distributed.checkpoints.planner import PiecesPlanner
from dlrm_pl.distributed.checkpoints.writer import FolderWriter
from dlrm_pl.distributed.sharded_tables import ShardedTables
from dlrm_pl.distributed.together import on_first, raise_failures, together
from dlrm_pl.errors import ConfigurationError, DLRMError, OutputError
from dlrm_pl.model.checkpoints.sharded.names import KEY, SavedPiece
from dlrm_pl.saving.pages import LargePages

log = logging.getLogger(__name__)

_LOOK_S = 0.2
"""Seconds between two checks for the files of other processes."""


class Saver:
    """Save the checkpoints of a training run; one that has two names at the same moment is written once.

    ``save`` and ``finish`` are called on all processes with the same arguments, except for the pieces of tables.

    Args:
        rank: number of this process.
        asynchronous: write in child processes, each with a snapshot of its own process's memory, while training
            continues. The first process gives the checkpoint its name once the files of all processes exist.

    Attributes:
        failure: why this process could not write a checkpoint, as found by ``poll``; ``finish`` then tells all
            processes.
    """

    def __init__(self, rank: int, asynchronous: bool = False) -> None:
        self._rank = rank
        self._asynchronous = asynchronous
        self._writing: tuple[FolderWriter, Path, Path] | None = None  # With the temporary folder, and its later path.
        self._pages: LargePages | None = None
        self._looked = 0.0
        self._saved: tuple[Path, bytes | None] | None = None  # On the first process only, like everything below.
        self._named = True
        self._afterwards: list[Callable[[], object]] = []
        self.failure: DLRMError | None = None

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
            checkpoint: contents that Lightning collected.
            tables: sharded tables of the model.
            optimizer: optimizer of the training, if its state is to be saved.

        Raises:
            NonFiniteError: a weight is NaN or infinite.
            OutputError: a process could not write its part; the message names it. An earlier checkpoint of this name is
                kept.
        """
        if "://" in str(path):
            raise ConfigurationError(
                f"{path}: checkpoints of sharded tables are written to a folder that all machines share. Give "
                "ModelCheckpoint a dirpath on a file system."
            )
        path = Path(path).absolute()
        if on_first(lambda: self._is_second_name(path, checkpoint)):
            return
        self.finish()
        temporary, identity = on_first(lambda: _begin(path))
        try:
            dense, numbers = of_one_process(checkpoint, tables.settings, len(tables.shapes))
            dense |= {KEY: {"identity": identity, "numbers": numbers}}
            writer = FolderWriter(temporary, path, identity, self._rank, dense, self._asynchronous)
            _write(writer, pieces_of(tables, optimizer), tables.shapes)
        except BaseException:
            self._remove(temporary)
            raise
        self._writing, self._named, self._pages = (writer, temporary, path), False, writer.pages
        if self._rank == 0:
            self._saved = path, same_state(checkpoint)
        if not self._asynchronous:
            self.finish()

    @property
    def pending(self) -> Path | None:
        """The checkpoint that is being written now; known to the first process."""
        return self._writing[2] if self._writing is not None and not self._named else None

    def poll(self) -> None:
        """Do what a checkpoint that is being written needs between two steps, without the other processes."""
        try:
            self._poll()
        except DLRMError as error:
            self.failure = error
        except OSError as error:
            self.failure = OutputError(f"{self.pending}: was not written: {error.strerror}.")

    def _poll(self) -> None:
        if self._writing is None or self.failure is not None:
            return
        writer, temporary, path = self._writing
        if writer.child is not None:
            if writer.child.needs_memory:
                log.warning("%s: training waits until it is written, because memory is short", path)
            elif not writer.child.ended:
                return
            writer.wait()
        if self._rank == 0 and not self._named and time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            if writer.is_whole:
                self._name(writer, temporary, path)
        elif self._pages is not None and not self._pages.restore():
            self._pages = None

    def finish(self) -> None:
        """Wait, on all processes, for a checkpoint that is being written; see ``save``."""
        if self._writing is None:
            return
        writer, temporary, path = self._writing
        self._writing = None
        try:
            together(lambda: self._wait(writer))
            on_first(lambda: None if self._named else self._name(writer, temporary, path))
        except BaseException:
            self._saved = self.failure = None
            self._afterwards.clear()
            raise
        finally:
            self._remove(temporary)

    def abandon(self) -> None:
        """End without the other processes, which may have failed; the checkpoint being written is discarded."""
        if self._writing is not None:
            writer, temporary, _ = self._writing
            self._writing = None
            with suppress(DLRMError):
                writer.wait()
            self._remove(temporary)

    def _wait(self, writer: FolderWriter) -> None:
        if self.failure is not None:
            raise self.failure
        writer.wait()

    def after_writing(self, action: Callable[[], None]) -> None:
        """Call a function once the checkpoint that is being written is complete; at once if there is none."""
        if self.pending is None:
            action()
        else:
            self._afterwards.append(action)

    def _is_second_name(self, path: Path, checkpoint: dict[str, Any]) -> bool:
        """Give the last checkpoint a second name, if this one has the same weights."""
        if self._saved is None or self._saved[0] == path:
            return False
        first, state = self._saved
        if state is None or state != same_state(checkpoint):
            return False
        if self.pending is None:
            return first.is_dir() and give_second_name(first, path)
        self._afterwards.append(partial(give_second_name, first, path, copies=True))
        return True

    def _name(self, writer: FolderWriter, temporary: Path, path: Path) -> None:
        """Give a checkpoint its name, once all of its files exist."""
        writer.mark()
        put_in_place(temporary, path)
        self._named = True
        if self._asynchronous:
            log.info("%s: saved", path)
        afterwards, self._afterwards = self._afterwards, []
        for action in afterwards:
            action()

    def _remove(self, temporary: Path) -> None:
        if self._rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)


def _begin(path: Path) -> tuple[Path, str]:
    identity = secrets.token_hex(8)
    return make_temporary(path, identity), identity


def _write(writer: FolderWriter, pieces: Sequence[SavedPiece], shapes: Sequence[tuple[int, int]]) -> None:
    try:
        save(
            {},
            storage_writer=writer,
            planner=PiecesPlanner(pieces, shapes),
            no_dist=not dist.is_initialized(),
        )
    except CheckpointException as failed:
        raise_failures({rank: error for rank, (error, _) in failed.failures.items()})
        raise
