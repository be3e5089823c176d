"""Trainer plugin that writes checkpoints atomically and reads them through a memory map."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dlrm_pl.callbacks.checkpoint_state import names_of_weights, same_state
from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.model.checkpoints.contract import KEY
from dlrm_pl.model.checkpoints.row_digests import DIGESTS_KEY, block_bytes_of, room_for_digests
from dlrm_pl.model.checkpoints.sharded.names import is_sharded
from dlrm_pl.model.load import read_checkpoint
from dlrm_pl.saving.pages import LargePages
from dlrm_pl.saving.parts import Digests
from dlrm_pl.saving.snapshot import Snapshot, Writer, can_write

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints directly from the tensors' memory to a temporary file and rename it; read through a memory map.

    Lightning's own plugin first makes a copy in memory, which large tables may not fit into. It then copies the file
    from the system's temporary folder to its destination, so a full disk leaves a partial file in place of an earlier
    checkpoint.

    A checkpoint that is saved under two names, as with ``save_last: true`` in ModelCheckpoint, is written once. The
    second name is a hard link to the same file if the file system supports hard links.

    Args:
        asynchronous: write in a child process from a snapshot of the memory while training continues. Whatever depends
            on the file, such as removing an earlier one, waits until it is complete.

    Attributes:
        asynchronous: whether checkpoints are written in a child process.

    Raises:
        ConfigurationError: ``asynchronous`` is set, but the native code that it needs is missing.
    """

    def __init__(self, asynchronous: bool = False) -> None:
        super().__init__()
        if asynchronous and not can_write():
            raise ConfigurationError(
                "trainer.async_checkpoints=true needs native code, which was not built. Install again with a C++ "
                "compiler available, or leave it at false."
            )
        self.asynchronous = asynchronous
        self._writer: Writer | None = None
        self._afterwards: list[Callable[[], None]] = []
        self._pages: LargePages | None = None
        self._saved: tuple[Path, bytes | None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save a checkpoint.

        Args:
            checkpoint: contents that Lightning collected.
            path: file to write; a URL of another file system is left to Lightning.
            storage_options: options of another file system; if given, Lightning saves the checkpoint.

        Raises:
            NonFiniteError: a weight is NaN or infinite; an earlier checkpoint of this name is kept.
            OutputError: the folder cannot be written.
            OSError: the disk is full; an earlier checkpoint of this name is kept.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        state = same_state(checkpoint)
        if self._saved is not None and state is not None and self._saved[1] == state and self._saved[0] != path:
            first = self._saved[0]
            if self._writer is not None:
                self._afterwards.append(lambda: self._link_or_copy(checkpoint, first, path))
            else:
                self._link_or_copy(checkpoint, first, path)
            return
        self.finish()
        self._save(checkpoint, path)
        self._saved = path, state

    def _save(self, checkpoint: dict[str, Any], path: Path) -> None:
        snapshot = self._snapshot(checkpoint, path) if can_write() else None
        if snapshot is None:
            _save_by_torch(checkpoint, path)
        elif self.asynchronous:
            self._writer = snapshot.start_or_write()
            if self._writer is not None:
                self._pages = LargePages(snapshot.memory)
        else:
            snapshot.write()

    def _snapshot(self, checkpoint: dict[str, Any], path: Path) -> Snapshot | None:
        """Prepare a checkpoint, unless it holds objects that only torch can write."""
        names, digests = names_of_weights(checkpoint), {}
        if isinstance(checkpoint.get(KEY), dict):
            room = room_for_digests(checkpoint["state_dict"])
            tables = {name: checkpoint["state_dict"][f"model.{name}"] for name in room}
            digests = {id(table): Digests(room[name], block_bytes_of(table)) for name, table in tables.items()}
            checkpoint = checkpoint | {DIGESTS_KEY: room}  # After the tables, so that they are known by then.
        try:
            return Snapshot(
                path, checkpoint, lambda tensor: names.get(id(tensor)), lambda tensor: digests.get(id(tensor))
            )
        except CheckpointError as error:
            log.warning("%s Saving it by torch.save.", error)
            return None

    def _link_or_copy(self, checkpoint: dict[str, Any], first: Path, path: Path) -> None:
        if not link(first, path):
            self._save(checkpoint, path)

    @property
    def pending(self) -> Path | None:
        """File that a child process is writing now."""
        return None if self._writer is None else self._writer.path

    def poll(self) -> None:
        """Do what an asynchronous checkpoint needs between two steps; nothing if there is none.

        Raises:
            NonFiniteError: a weight in the checkpoint is NaN or infinite; an earlier one of this name is kept.
            OSError: the checkpoint could not be written.
            OutputError: the process that was writing it was killed.
        """
        if self._writer is not None:
            if self._writer.ended:
                self.finish()
            elif self._writer.needs_memory:
                log.warning("%s: training waits until it is written, because memory is short", self._writer.path)
                self.finish()
        elif self._pages is not None and not self._pages.restore():
            self._pages = None

    def finish(self) -> None:
        """Wait for a checkpoint that is being written, see ``poll``."""
        writer, self._writer = self._writer, None
        afterwards, self._afterwards = self._afterwards, []
        if writer is not None:
            try:
                writer.wait()
            except BaseException:
                self._saved = None
                raise
            log.info("%s: saved", writer.path)
        for action in afterwards:
            action()

    def after_writing(self, action: Callable[[], None]) -> None:
        """Call a function once the checkpoint that is being written is complete; at once if there is none."""
        if self._writer is None:
            action()
        else:
            self._afterwards.append(action)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint once the one that replaces it is complete."""
        self.after_writing(lambda: super(AtomicCheckpointIO, self).remove_checkpoint(path))

    def teardown(self) -> None:
        """Wait for a checkpoint that is being written."""
        self.finish()

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load a checkpoint of this package as memory maps, and compare all tensors with its checksums.

        Args:
            path: file to read; a URL of another file system is left to Lightning.
            map_location: ignored; tensors are memory-mapped from the file, and Lightning moves the module.
            weights_only: ignored; nothing but plain types is ever unpickled.

        Raises:
            CheckpointError: the file is damaged, or not a checkpoint of this package.
        """
        self.finish()
        if "://" in str(path):
            return resume_in_epoch(super().load_checkpoint(path, map_location, weights_only))
        return resume_in_epoch(read_checkpoint(Path(path), whole=True))


def link(first: Path, path: Path) -> bool:
    """Give a file a second name, replacing an earlier file of that name; a complete file has that name at every moment.

    A checkpoint of several processes, which is a folder, is moved away first.

    Returns:
        False if the file system has no hard links.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.link.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.link(first, temporary)
    except OSError:
        return False
    if is_sharded(path):
        old = path.rename(path.parent / f".{path.name}.{os.getpid()}.old.tmp")
        temporary.rename(path)
        shutil.rmtree(old)
        return True
    temporary.rename(path)
    temporary.unlink(missing_ok=True)  # If both already name the same file, `rename` does nothing.
    return True


def _save_by_torch(checkpoint: dict[str, Any], path: Path) -> None:
    with atomic_file(path, "wb") as handle:
        try:
            torch.save(checkpoint, handle)
        except RuntimeError as error:
            # torch's writer only reports that too few bytes were written; the earlier error says why.
            if isinstance(error.__context__, OSError | KeyboardInterrupt):
                raise error.__context__ from None
            raise


def resume_in_epoch(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Correct a checkpoint's progress: an interrupted epoch continues, and one whose last batch was trained is done.

    Lightning counts an epoch that ``max_steps`` or a callback has stopped as done. A resumed run of one epoch would
    then train nothing, and a run of several epochs would read the remaining rows in the order of the next epoch: some
    rows twice, others never. Conversely, an epoch that was saved before its end, but after its last batch or the
    validation that follows, counts as unfinished: the next epoch would then have its rows in the order of this one.
    """
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    batches, epochs = loop.get("epoch_loop.batch_progress", {}), loop.get("epoch_progress", {})
    if not batches or not epochs or not batches["current"]["processed"]:
        return checkpoint
    if batches["is_last_batch"] and batches["current"]["processed"] < batches["current"]["ready"]:
        return checkpoint  # Saved while the last batch was being trained.
    for count in (epochs["current"], epochs["total"]):
        if batches["is_last_batch"]:
            count["processed"] = count["completed"] = count["started"]
        else:
            count["processed"] = min(count["processed"], count["started"] - 1)
            count["completed"] = min(count["completed"], count["processed"])
    if batches["is_last_batch"] and "epoch_loop.state_dict" in loop:
        # The checkpoint was saved before Lightning counted the last step; loggers use this count as their step.
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint.get("global_step", 0)
        for count in (batches["current"], batches["total"]):
            count["completed"] = count["processed"]
    return checkpoint
