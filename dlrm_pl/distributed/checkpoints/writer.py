"""Where the pieces of a checkpoint go: a file for each process, for torch.distributed.checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.distributed.checkpoints.planner import PiecesPlanner
from dlrm_pl.errors import OutputError
from dlrm_pl.files.complete_io import sync_path
from dlrm_pl.model.checkpoints.sharded.names import DENSE_NAME, FORMAT, MARKER_NAME, PART_NAME, WEIGHT
from dlrm_pl.saving.snapshot import Snapshot, can_write
from dlrm_pl.torch_file.writer import write_torch_file


class FolderWriter(StorageWriter):
    """Write a sharded checkpoint to a folder that is there and empty; the marker comes last.

    Args:
        folder: the folder, which all processes share.
        identity: random text that all files state, the same on all processes.
        rank: number of this process.
        dense: everything but the tables, as Lightning collected it; the coordinator writes it.
    """

    def __init__(self, folder: Path, identity: str, rank: int, dense: dict[str, Any]) -> None:
        self._folder, self._identity, self._rank, self._dense = folder, identity, rank, dense
        self._is_coordinator = False

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Do nothing: a writer is for one checkpoint."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Check that this process sees the folder that the coordinator has made.

        Raises:
            OutputError: it does not.
        """
        self._is_coordinator = is_coordinator
        if not self._folder.is_dir():
            raise OutputError(
                f"{self._folder.parent}: the folder that rank 0 has made in it cannot be seen here. Give a folder on a "
                "file system that all machines share (dirpath of ModelCheckpoint, or trainer.default_root_dir)."
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
            OSError: the disk is full.
        """
        assert isinstance(planner, PiecesPlanner)
        pieces = [planner.piece(item) for item in plan.items]
        path = self._folder / PART_NAME.format(self._rank)
        contents = {"identity": self._identity, "rank": self._rank, "pieces": [dict(piece) for piece in pieces]}
        if can_write():
            names = {
                id(piece["values"]): f"table {piece['table']}"
                if piece["name"] == WEIGHT
                else f"the optimizer's {piece['name']} of table {piece['table']}"
                for piece in pieces
            }
            Snapshot(path, contents, lambda tensor: names.get(id(tensor))).write()
        else:
            write_torch_file(path, contents)
        written = {path.name: path.stat().st_size}
        if self._is_coordinator:
            dense = self._folder / DENSE_NAME
            AtomicCheckpointIO().save_checkpoint(self._dense, dense)
            written[dense.name] = dense.stat().st_size
        result: Future[Any] = Future()
        result.set_result(written)
        return result

    def finish(self, metadata: Metadata, results: list[Any]) -> None:
        """Write the marker, once all processes have written their files."""
        files = {name: size for written in results for name, size in written.items()}
        marker = self._folder / MARKER_NAME
        text = json.dumps({"format": FORMAT, "identity": self._identity, "files": dict(sorted(files.items()))})
        with marker.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        sync_path(self._folder)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Accept what the constructor accepts."""
        return isinstance(checkpoint_id, str | os.PathLike)
