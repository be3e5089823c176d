"""Write the pieces of a checkpoint to one file per process, for torch.distributed.checkpoint."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.distributed.checkpoints.newest import run_id
from dlrm_pl.distributed.checkpoints.pages import with_padding
from dlrm_pl.distributed.checkpoints.planner import PiecesPlanner
from dlrm_pl.errors import DLRMError, NonFiniteError, OutputError
from dlrm_pl.files.complete_io import sync_path
from dlrm_pl.model.checkpoints.sharded.names import DENSE_NAME, FORMAT, MARKER_NAME, PART_NAME, WEIGHT, SavedPiece
from dlrm_pl.model.training.resuming.run_record import RunRecord
from dlrm_pl.saving.pages import LargePages
from dlrm_pl.saving.snapshot import Snapshot, Writer, can_write
from dlrm_pl.torch_file.writer import write_torch_file


class FolderWriter(StorageWriter):
    """Write a sharded checkpoint to an existing empty folder; the marker comes last.

    Args:
        folder: the folder, which all processes share.
        path: path that the folder will have later, for messages.
        identity: random text that all files contain, the same on all processes.
        rank: number of this process.
        dense: everything but the tables, as Lightning collected it; the coordinator writes it.
        asynchronous: write the tables in a child process from a snapshot of the memory. The marker is then written by
            ``mark``, once the files of all processes exist.

    Attributes:
        child: the child process; None if the tables are already written.
        pages: large pages to restore in the memory that the child writes; None without a child.
    """

    def __init__(
        self, folder: Path, path: Path, identity: str, rank: int, dense: dict[str, Any], asynchronous: bool = False
    ) -> None:
        self._folder, self._path, self._identity, self._rank, self._dense = folder, path, identity, rank, dense
        nonfinite = RunRecord.read(dense).nonfinite_tables  # Non-finite when imported.
        self._may_be_nonfinite = {int(name.split(".")[3]) for name in nonfinite if ".embedding_bags.tables." in name}
        self._part = folder / PART_NAME.format(rank)
        self._is_coordinator = False
        self._asynchronous = asynchronous
        self._files: dict[str, int] = {}
        self.child: Writer | None = None
        self.pages: LargePages | None = None

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Do nothing: a writer is for one checkpoint."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Check that this process sees the folder that the coordinator has created.

        Raises:
            OutputError: the process does not see it.
        """
        self._is_coordinator = is_coordinator
        if not self._folder.is_dir():
            raise OutputError(
                f"{self._folder.parent}: the folder that rank 0 created in it is not visible here. Give a folder on "
                "a file system that all machines share (dirpath of ModelCheckpoint, or trainer.default_root_dir)."
            )

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Leave the plans as they are."""
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write the pieces of this process; the coordinator also writes the rest.

        Raises:
            NonFiniteError: a value is NaN or infinite.
            OutputError: the disk is full, or the folder cannot be written.
        """
        assert isinstance(planner, PiecesPlanner)
        with self._naming_the_checkpoint():
            written = self._write([planner.piece(item) for item in plan.items])
        result: Future[Any] = Future()
        result.set_result(written)
        return result

    def _write(self, pieces: list[SavedPiece]) -> dict[str, int]:
        """Write the files of this process; returns their sizes."""
        path = self._part
        contents = {
            "identity": self._identity,
            "rank": self._rank,
            "pieces": [dict(piece) for piece in with_padding(pieces)],
        }
        names = {id(piece["values"]): _name(piece) for piece in pieces if piece["table"] not in self._may_be_nonfinite}
        if not can_write():
            write_torch_file(path, contents)
            written = {path.name: path.stat().st_size}
        else:
            snapshot = Snapshot(path, contents, lambda tensor: names.get(id(tensor)))
            written = {path.name: snapshot.size}
            if self._asynchronous:
                self.child = snapshot.start_or_write()
                self.pages = LargePages(snapshot.memory)
            else:
                snapshot.write()
        if self._is_coordinator:
            dense = self._folder / DENSE_NAME
            AtomicCheckpointIO().save_checkpoint(self._dense, dense)
            written[dense.name] = dense.stat().st_size
        return written

    @contextmanager
    def _naming_the_checkpoint(self) -> Iterator[None]:
        """Name the checkpoint in errors, in place of a file of it."""
        try:
            yield
        except NonFiniteError as error:
            raise NonFiniteError(str(error).replace(str(self._part), str(self._path))) from None
        except OSError as error:
            if isinstance(error, DLRMError):
                raise
            raise OutputError(
                f"{self._path}: was not written: {error.strerror} on {socket.gethostname()}. Earlier checkpoints are "
                "intact."
            ) from error

    def finish(self, metadata: Metadata, results: list[Any]) -> None:
        """Write the marker once all processes have written their files; later, if child processes write them."""
        self._files = {name: size for written in results for name, size in written.items()}
        if not self._asynchronous:
            self.mark()

    def wait(self) -> None:
        """Wait until the files of this process exist.

        Raises:
            NonFiniteError: a value is NaN or infinite.
            OutputError: the disk is full, or the child was killed.
        """
        child, self.child = self.child, None
        if child is not None:
            with self._naming_the_checkpoint():
                child.wait()

    @property
    def is_whole(self) -> bool:
        """Whether the files of all processes exist; known to the coordinator."""
        try:
            return all((self._folder / name).stat().st_size == size for name, size in self._files.items())
        except OSError:  # Not there yet.
            return False

    def mark(self) -> None:
        """Write the marker, which states that all files exist."""
        marker = self._folder / MARKER_NAME
        stated = {
            "format": FORMAT,
            "identity": self._identity,
            "global_step": self._dense.get("global_step", 0),
            "run": run_id(),
            "files": dict(sorted(self._files.items())),
        }
        with marker.open("w", encoding="utf-8") as handle:
            json.dump(stated, handle)
            handle.flush()
            os.fsync(handle.fileno())
        sync_path(self._folder)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Accept what the constructor accepts."""
        return isinstance(checkpoint_id, str | os.PathLike)


def _name(piece: SavedPiece) -> str:
    """Describe a piece, for messages."""
    of_table = f"table {piece['table']}"
    return of_table if piece["name"] == WEIGHT else f"the optimizer's {piece['name']} of {of_table}"
