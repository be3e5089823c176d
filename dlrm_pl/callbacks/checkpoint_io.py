"""Checkpoints that appear whole or not at all, and are read through a map; a plugin of Lightning's Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.model.load import read_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames; reads what is needed, when it is.

    Lightning's own copies the file from the system's folder for temporary files into place: a disk that is full then
    leaves a part of it under the final name, over an earlier checkpoint. It also makes a copy in memory first, which
    for large tables is more than a machine has.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save a checkpoint.

        Args:
            checkpoint: what Lightning gathered.
            path: file to write; a URL of another file system is left to Lightning.
            storage_options: must be None, as in Lightning's own.

        Raises:
            OutputError: the folder cannot be written.
            OSError: the disk is full; an earlier checkpoint under this name is still there.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with atomic_file(Path(path), "wb") as handle:
            try:
                torch.save(checkpoint, handle)
            except RuntimeError as error:
                # torch's writer notices only that fewer bytes were written; why stands in the error before.
                if isinstance(error.__context__, OSError | KeyboardInterrupt):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load a checkpoint of ours; its tensors are maps of the file, all compared with its checksums.

        Args:
            path: file to read; a URL of another file system is left to Lightning.
            map_location: not used: tensors lie in the file, and Lightning moves the module.
            weights_only: not used: nothing but plain types is ever unpickled.

        Raises:
            CheckpointError: unreadable, or not ours.
        """
        if "://" in str(path):
            return go_on_in_epoch(super().load_checkpoint(path, map_location, weights_only))
        return go_on_in_epoch(read_checkpoint(Path(path), whole=True))


def go_on_in_epoch(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Count an epoch that was cut short as one that goes on, and one whose last batch is trained as done.

    Lightning counts one that ``max_steps`` or a stop by a callback cut short as done. A run of one epoch that is
    resumed would train nothing, and one of several would take the rest of the rows in the order of the next epoch: some
    of them twice, others not at all. One that was saved after its last batch or the validation after it, before its
    end, is to Lightning one that goes on: the next would have its rows in the order of this one.
    """
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    batches, epochs = loop.get("epoch_loop.batch_progress", {}), loop.get("epoch_progress", {})
    if not batches or not epochs or not batches["current"]["processed"]:
        return checkpoint
    if batches["is_last_batch"] and batches["current"]["processed"] < batches["current"]["ready"]:
        return checkpoint  # Saved while the last batch was trained.
    for count in (epochs["current"], epochs["total"]):
        if batches["is_last_batch"]:
            count["processed"] = count["completed"] = count["started"]
        else:
            count["processed"] = min(count["processed"], count["started"] - 1)
            count["completed"] = min(count["completed"], count["processed"])
    if batches["is_last_batch"] and "epoch_loop.state_dict" in loop:
        # Saved before Lightning counts the last one; loggers number by it.
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint.get("global_step", 0)
        for count in (batches["current"], batches["total"]):
            count["completed"] = count["processed"]
    return checkpoint
