"""DLRMModule: steps, loss, metrics, optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError, DatasetError, NonFiniteError
from dlrm_pl.metrics.auroc import ExactAUROC
from dlrm_pl.metrics.calibration import ClickCalibration
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoint import checkpoint_entry, require_same_architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.losses import click_loss
from dlrm_pl.model.schedule import WarmupDecay


class DLRMModule(pl.LightningModule):
    """A DLRM with its loss, metrics and optimizer.

    Args:
        table_sizes: rows of each table; on the command line it comes from the dataset.
        embedding_dim: D, the width of every embedding and of the bottom MLP's output.
        bottom_mlp: widths of the bottom MLP with its input of 13 dense features.
        top_mlp: widths of the top MLP without its input; ends in 1.
        interaction: ``dot``: pairwise dot products; ``cat``: concatenation.
        self_interaction: include the dot product of each vector with itself.
        loss: ``bce``: binary cross-entropy; ``wbce``: weighted by class; ``mse``: squared error.
        loss_weights: for ``wbce``, of non-clicks and of clicks.
        loss_threshold: t clamps probabilities to [t, 1 - t], in training and in scoring; 0 is off.
        optimizer: ``sgd``, as the reference; or ``adagrad``. Both take sparse gradients.
        learning_rate: base rate.
        lr_num_warmup_steps: linear warm-up over so many steps.
        lr_decay_start_step: step at which a quadratic decay begins.
        lr_num_decay_steps: length of the decay; 0: none.
        dataset_fingerprint: of the dataset's vocabulary; on the command line it comes from the dataset.
    """

    def __init__(
        self,
        table_sizes: list[int],
        embedding_dim: int = 16,
        bottom_mlp: Sequence[int] = (13, 512, 256, 64, 16),
        top_mlp: Sequence[int] = (512, 256, 1),
        interaction: Literal["dot", "cat"] = "dot",
        self_interaction: bool = False,
        loss: Literal["bce", "wbce", "mse"] = "bce",
        loss_weights: Sequence[float] = (1.0, 1.0),
        loss_threshold: float = 0.0,
        optimizer: Literal["sgd", "adagrad"] = "sgd",
        learning_rate: float = 0.1,
        lr_num_warmup_steps: int = 0,
        lr_decay_start_step: int = 0,
        lr_num_decay_steps: int = 0,
        dataset_fingerprint: str = "",
    ) -> None:
        super().__init__()
        if len(loss_weights) != 2:
            raise ConfigurationError(f"loss_weights={list(loss_weights)}: two are needed, of non-clicks and of clicks.")
        table_sizes, bottom_mlp, top_mlp = list(table_sizes), list(bottom_mlp), list(top_mlp)
        loss_weights = list(loss_weights)
        self.save_hyperparameters()
        self.architecture = Architecture(
            table_sizes=tuple(table_sizes),
            embedding_dim=embedding_dim,
            bottom_mlp=tuple(bottom_mlp),
            top_mlp=tuple(top_mlp),
            interaction=interaction,
            self_interaction=self_interaction,
            loss_threshold=loss_threshold,
        )
        self.dataset_fingerprint = dataset_fingerprint
        self._loss: Literal["bce", "wbce", "mse"] = loss
        self._loss_weights = (loss_weights[0], loss_weights[1])
        self._optimizer = optimizer
        self._schedule = WarmupDecay(learning_rate, lr_num_warmup_steps, lr_decay_start_step, lr_num_decay_steps)
        self.model = DLRM(self.architecture)
        self.val_auroc, self.test_auroc = ExactAUROC(), ExactAUROC()
        self.val_calibration, self.test_calibration = ClickCalibration(), ClickCalibration()

    def forward(self, batch: ClickBatch) -> Tensor:
        """Logits ``[B]``."""
        logits: Tensor = self.model(batch)
        return logits

    def setup(self, stage: str) -> None:
        """Check that the data is what the model was made for."""
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None and hasattr(datamodule, "dataset_fingerprint"):
            self.check_dataset(datamodule.table_sizes, datamodule.dataset_fingerprint)

    def check_dataset(self, table_sizes: Sequence[int], fingerprint: str) -> None:
        """Refuse data of another vocabulary.

        Raises:
            DatasetError: a table of another size, named with both; or another fingerprint.
        """
        ours = self.architecture.table_sizes
        if len(ours) != len(table_sizes):
            raise DatasetError(f"The model has {len(ours)} tables, the dataset {len(table_sizes)}.")
        for table, (rows, found) in enumerate(zip(ours, table_sizes, strict=True)):
            if rows != found:
                raise DatasetError(
                    f"table {table}: the model has {rows} rows, the dataset {found}. Name the dataset that the model "
                    "was trained on, or train anew."
                )
        if self.dataset_fingerprint and self.dataset_fingerprint != fingerprint:
            raise DatasetError(
                f"The model was trained on the dataset {self.dataset_fingerprint}, this one is {fingerprint}: the "
                "tables have the same sizes, but the same ids would mean other categories."
            )

    def training_step(self, batch: ClickBatch, batch_idx: int) -> Tensor:
        """Loss of one batch.

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        """
        loss = click_loss(self(batch), batch.labels, self._loss, self._loss_weights)
        if not torch.isfinite(loss):
            rate = self._schedule.rate(self.global_step + 1)
            raise NonFiniteError(
                f"The loss is {loss.item()} at step {self.global_step} (learning rate {rate:g}). Training diverged: "
                "lower model.learning_rate or lengthen model.lr_num_warmup_steps."
            )
        self.log("train_loss", loss, prog_bar=True, batch_size=batch.num_samples)
        return loss

    def validation_step(self, batch: ClickBatch, batch_idx: int) -> None:
        """Add a batch to the metrics."""
        _update(self.val_auroc, self.val_calibration, self(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val_auroc`` and the others."""
        self._log_metrics("val", self.val_auroc, self.val_calibration)

    def test_step(self, batch: ClickBatch, batch_idx: int) -> None:
        """Add a batch to the metrics."""
        _update(self.test_auroc, self.test_calibration, self(batch), batch)

    def on_test_epoch_end(self) -> None:
        """Log ``test_auroc`` and the others."""
        self._log_metrics("test", self.test_auroc, self.test_calibration)

    def predict_step(self, batch: ClickBatch, batch_idx: int) -> Tensor:
        """Click probability of each sample, ``[B]``."""
        return torch.sigmoid(self(batch))

    def _log_metrics(self, split: str, auroc: ExactAUROC, calibration: ClickCalibration) -> None:
        # The sanity check reads a batch or two, which may well hold no click.
        if not self.trainer.sanity_checking:
            self.log(f"{split}_auroc", auroc.compute().float(), prog_bar=True, rank_zero_only=False)
            values = {f"{split}_{name}": value.float() for name, value in calibration.compute().items()}
            self.log_dict(values)
        auroc.reset()
        calibration.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD or Adagrad with the reference's schedule, stepped with the optimizer."""
        kind = torch.optim.SGD if self._optimizer == "sgd" else torch.optim.Adagrad
        optimizer: torch.optim.Optimizer = kind(self.parameters(), lr=self._schedule.base)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda done: self._schedule.rate(done + 1) / self._schedule.base
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Mark the checkpoint as ours, with what a loader has to know."""
        checkpoint["dlrm_pl"] = checkpoint_entry(self.architecture, self.dataset_fingerprint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that is not ours or of another architecture."""
        require_same_architecture(checkpoint, self.architecture)


def _update(auroc: ExactAUROC, calibration: ClickCalibration, logits: Tensor, batch: ClickBatch) -> None:
    probabilities = torch.sigmoid(logits)
    auroc.update(probabilities, batch.labels)
    calibration.update(probabilities, batch.labels)
