"""Validation and testing of a click model: AUROC and the other metrics, for Lightning's Trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.metrics.auroc import ExactAUROC
from dlrm_pl.metrics.calibration import ClickCalibration
from dlrm_pl.metrics.skill import SkillWarning, skill_warnings
from dlrm_pl.model.dlrm import DLRM

log = logging.getLogger(__name__)


METRICS: Mapping[str, Literal["max", "min", ""]] = {
    "auroc": "max",
    "log_loss": "min",
    "normalized_entropy": "min",
    "calibration_ratio": "",  # Its best value is 1.
}
"""Metrics that validation and testing log with the prefix ``val_`` or ``test_``, and which direction is better."""


class ScoredModule(pl.LightningModule):
    """The part of ``DLRMModule`` that validates and tests: computes metrics over all rows, logs them and warns.

    Attributes:
        model: the network; its file is watched while rows are scored.
        auroc: AUROC of the rows so far.
        calibration: log loss, normalized entropy and calibration ratio of the rows so far.
        warned_of: kinds of warnings that were given so far.
    """

    model: DLRM

    def _add_metrics(self) -> None:
        """Make the metrics, which Lightning's summary lists after the model."""
        self._no_skill: tuple[SkillWarning, ...] = ()
        self.warned_of: set[str] = set()
        with torch.device("cpu"):  # Not on meta, where an unloaded model may be.
            self.auroc = ExactAUROC()
            self.calibration = ClickCalibration()

    def on_validation_epoch_start(self) -> None:
        """Drop the rows of a sanity check or of an interrupted run from the metrics."""
        self._reset_metrics()

    def validation_step(self, batch: ClickBatch, batch_idx: int) -> None:
        """Add a batch to the metrics."""
        self._update_metrics(batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val_auroc`` and the other metrics, except after a sanity check, which has too few rows."""
        if not self.trainer.sanity_checking:
            self._log_metrics("val")
            if self.trainer.state.fn == "validate":
                self._warn_of_no_skill()

    def on_train_end(self) -> None:
        """Warn if the last validation showed a model without skill: once after training, not after each epoch."""
        self._warn_of_no_skill()

    def on_test_epoch_start(self) -> None:
        """Drop the rows of validation or of an interrupted run from the metrics."""
        self._reset_metrics()

    def test_step(self, batch: ClickBatch, batch_idx: int) -> None:
        """Add a batch to the metrics."""
        self._update_metrics(batch)

    def on_test_epoch_end(self) -> None:
        """Log ``test_auroc`` and the other metrics."""
        self._log_metrics("test")
        self._warn_of_no_skill()

    def _reset_metrics(self) -> None:
        self.auroc.reset()
        self.calibration.reset()

    def _update_metrics(self, batch: ClickBatch) -> None:
        logits = self(batch)
        self.model.watch.glance()
        self.auroc.update(logits, batch.known_labels)
        self.calibration.update(logits, batch.known_labels)

    def _log_metrics(self, stage: str) -> None:
        self.model.watch.check()
        # The metrics already cover all ranks; sync_dist keeps Lightning from warning that they may not.
        options: dict[str, Any] = {"sync_dist": True, "batch_size": 1}
        values = {"auroc": self.auroc.compute()} | self.calibration.compute()
        for name in ("auroc", "log_loss", "normalized_entropy", "calibration_ratio"):
            self.log(f"{stage}_{name}", values[name], prog_bar=name == "auroc", **options)
        scores = {name: float(value) for name, value in values.items()}
        rows, clicks = int(scores["rows"]), int(scores["clicks"])
        self._no_skill = skill_warnings(scores, model="the model", split=stage, rows=rows, clicks=clicks)
        self._reset_metrics()

    def _warn_of_no_skill(self) -> None:
        """Warn once for each set of metrics, on rank zero."""
        for warning in self._no_skill if self.trainer.is_global_zero else ():
            log.warning("%s", warning.text)
            self.warned_of.add(warning.kind)
        self._no_skill = ()
