"""Loop over epochs, and its installation in a Trainer."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.loops.fit_loop import _FitLoop

from dlrm_pl.training_loop.runs import RunsLoop


class FinishedEpochsLoop(_FitLoop):
    """Lightning's loop, except that an epoch that a checkpoint has finished is not finished again.

    Under ``max_steps``, Lightning would end such an epoch again and count it twice. ``max_epochs`` would then stop the
    run before anything is trained, or the next rows would be those of a later epoch.
    """

    def _iteration_based_training(self) -> bool:
        return False


def replace_loop(trainer: pl.Trainer) -> None:
    """Give a new Trainer these loops, keeping its limits."""
    loop = FinishedEpochsLoop(trainer, trainer.fit_loop.min_epochs, trainer.fit_loop.max_epochs)
    epoch_loop = trainer.fit_loop.epoch_loop
    loop.epoch_loop = RunsLoop(trainer, epoch_loop.min_steps, epoch_loop.max_steps)
    trainer.fit_loop = loop
