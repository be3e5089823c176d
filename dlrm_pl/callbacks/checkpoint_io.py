"""Plugin of Lightning's Trainer that writes checkpoints atomically and reads them through a memory map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.model.load import read_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints to a temporary file and rename it; read them through a memory map.

    Lightning's own plugin first makes a copy in memory, which may not fit for large tables. It then copies the file
    from the system's folder of temporary files, so that a full disk leaves a partial file in place of an earlier
    checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save a checkpoint.

        Args:
            checkpoint: contents as Lightning collected them.
            path: file to write; a URL of another file system is left to Lightning.
            storage_options: options of another file system, which leave the work to Lightning.

        Raises:
            OutputError: the folder cannot be written.
            OSError: the disk is full; an earlier checkpoint of this name is kept.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with atomic_file(Path(path), "wb") as handle:
            try:
                torch.save(checkpoint, handle)
            except RuntimeError as error:
                # torch's writer only notices that fewer bytes were written; the error before says why.
                if isinstance(error.__context__, OSError | KeyboardInterrupt):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load a checkpoint of this package as memory maps, and compare all tensors with its checksums.

        Args:
            path: file to read; a URL of another file system is left to Lightning.
            map_location: ignored; tensors are maps of the file, and Lightning moves the module.
            weights_only: ignored; nothing but plain types is ever unpickled.

        Raises:
            CheckpointError: the file is damaged, or not a checkpoint of this package.
        """
        if "://" in str(path):
            return resume_in_epoch(super().load_checkpoint(path, map_location, weights_only))
        return resume_in_epoch(read_checkpoint(Path(path), whole=True))


def resume_in_epoch(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Correct the progress in a checkpoint: an interrupted epoch continues, one whose last batch is trained is done.

    Lightning counts an epoch that ``max_steps`` or a callback has stopped as done. A resumed run of one epoch would
    then train nothing, and a run of several epochs would read the remaining rows in the order of the next epoch: some
    twice, others never. An epoch that was saved after its last batch or the validation after it, but before its end, is
    unfinished to Lightning: the next epoch would have its rows in the order of this one.
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
        # Saved before Lightning counts the last step, which loggers use as their step.
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint.get("global_step", 0)
        for count in (batches["current"], batches["total"]):
            count["completed"] = count["processed"]
    return checkpoint
