"""Save a checkpoint when ctrl-C ends a training run, so that it can continue as if it had not been interrupted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from dlrm_pl.callbacks.async_checkpoints import saving_of

CHECKPOINT_NAME = "interrupted.ckpt"
_NOTE = (
    b"\nInterrupted: saving a checkpoint after this batch (after the validation, if one runs). "
    b"Ctrl-C again ends at once, without it.\n"
)


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a training run, and a checkpoint was saved.

    Args:
        checkpoint: the saved file.
    """

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(str(checkpoint))
        self.checkpoint = checkpoint


class QuantizationInterrupted(KeyboardInterrupt):
    """Ctrl-C ended the quantization that follows training; the trained weights were saved.

    Args:
        trained: checkpoint of the trained weights, from which `quantize` can continue.
    """

    def __init__(self, trained: Path) -> None:
        super().__init__(str(trained))
        self.trained = trained


class InterruptCheckpoint(pl.Callback):
    """Make the first ctrl-C end training between two batches, with a checkpoint.

    In the middle of a batch, the weights may be those of one step and the counters those of another, so a checkpoint
    that is saved there repeats a step or skips one. A second ctrl-C does what the first one would do without this
    callback: it ends the training at once.

    The callback must come after all others, so that they have finished with the batch. It needs the main thread, which
    receives signals. Without checkpoints (``enable_checkpointing: false``, ``fast_dev_run``) it does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._interrupted = False
        self._earlier: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over ctrl-C; one that ended an earlier training run does not count for this one."""
        self._interrupted = False
        off = not trainer.checkpoint_callbacks or trainer.fast_dev_run  # type: ignore[attr-defined]
        if off or not callable(signal.getsignal(signal.SIGINT)):
            return
        try:
            self._earlier = signal.signal(signal.SIGINT, self._remember)
        except ValueError:  # Not the main thread.
            self._earlier = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save the checkpoint if ctrl-C was pressed.

        Raises:
            TrainingInterrupted: ctrl-C was pressed.
        """
        if self._is_interrupted(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the checkpoint if ctrl-C was pressed after the last batch, and restore the handling of ctrl-C.

        Raises:
            TrainingInterrupted: ctrl-C was pressed.
        """
        if self._is_interrupted(trainer):
            self._save(trainer)
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the handling of ctrl-C, which Lightning has switched off if it ended training."""
        if not isinstance(exception, KeyboardInterrupt):
            self._give_back()
        self._earlier = None

    def _is_interrupted(self, trainer: pl.Trainer) -> bool:
        """Tell whether ctrl-C was pressed; the signal reaches processes one by one, between different batches."""
        if trainer.world_size == 1:
            return self._interrupted
        decision: bool = trainer.strategy.reduce_boolean_decision(self._interrupted, all=False)
        return decision

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            earlier = self._earlier
            self._give_back()
            earlier(number, frame)
            return
        self._interrupted = True
        os.write(2, _NOTE)  # `print` must not be called here: it may have been interrupted.

    def _give_back(self) -> None:
        if self._earlier is not None:
            signal.signal(signal.SIGINT, self._earlier)
            self._earlier = None

    def _save(self, trainer: pl.Trainer) -> None:
        self._interrupted = False
        path = Path(trainer.log_dir or trainer.default_root_dir) / CHECKPOINT_NAME
        trainer.save_checkpoint(path)
        if (saving := saving_of(trainer)) is not None:
            saving.finish()  # Users may open the file as soon as they read the message.
        self._give_back()
        raise TrainingInterrupted(path)
