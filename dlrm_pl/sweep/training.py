"""A training run of a sweep, which is scored after equal shares of its rows, and may be ended by its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytorch_lightning as pl

AUROC = "val_auroc"


class ScoreShares(pl.Callback):
    """Validates after given numbers of batches, and reports the AUROC of each validation.

    Args:
        scored_after: numbers of batches in ascending order; see ``progress.scored_after``.
        report: function that takes the number of the validation, from 1, and its AUROC, and returns whether training
            ends here.

    Attributes:
        reported: number of validations so far.
        is_ended: whether ``report`` ended the training.
    """

    def __init__(self, scored_after: Sequence[int], report: Callable[[int, float], bool]) -> None:
        super().__init__()
        self._scored_after, self._report = scored_after, report
        self.reported = 0
        self.is_ended = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Schedule the first validation."""
        trainer.val_check_batch = self._scored_after[0]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the AUROC, and schedule the next validation."""
        auroc = float(trainer.callback_metrics[AUROC])
        after = self._scored_after
        batches = after[self.reported]
        while not self.is_ended and self.reported < len(after) and after[self.reported] == batches:
            self.reported += 1
            self.is_ended = self._report(self.reported, auroc)
        if self.is_ended:
            trainer.should_stop = True
        elif self.reported < len(after):
            # Multiples of this number do not matter: after its first validation, the next number replaces it.
            trainer.val_check_batch = after[self.reported]
