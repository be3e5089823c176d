"""DLRMModule: DLRM with its loss, metrics and optimizer, for Lightning's Trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, Self

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError, NonFiniteError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.contract import CheckpointContract, overruled
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.gradient_clipping import clip_gradients
from dlrm_pl.model.training.hyperparameters import plain_list, pooling_of, with_inputs
from dlrm_pl.model.training.losses import Loss, click_loss
from dlrm_pl.model.training.schedule import WarmupDecay
from dlrm_pl.model.training.scored_module import ScoredModule
from dlrm_pl.model.training.sparse_gradients import average, broadcast, is_distributed
from dlrm_pl.model.training.weight_init import skips_weight_init
from dlrm_pl.scoring import ROWS_AT_A_TIME, Probabilities

log = logging.getLogger(__name__)


# Hyperparameters that say how a model is trained; the others say what it is.
_TRAINING = (
    "loss",
    "loss_weights",
    "optimizer",
    "learning_rate",
    "lr_num_warmup_steps",
    "lr_decay_start_step",
    "lr_num_decay_steps",
)


class DLRMModule(ScoredModule):
    """DLRM with loss, metrics, optimizer and learning-rate schedule, for Lightning's Trainer.

    Logs ``train_loss``, and in validation ``val_auroc``, ``val_log_loss``, ``val_normalized_entropy`` and
    ``val_calibration_ratio`` (in testing ``test_auroc`` and so on).

    Args:
        table_sizes: rows of each embedding table; the command line reads them from the dataset.
        embedding_dim: width of an embedding and of the bottom MLP's output.
        bottom_mlp: widths of the bottom MLP, starting with the number of dense columns, or with 0 to take it from
            ``columns``, and ending in embedding_dim.
        top_mlp: widths of the top MLP without its input, which follows from the interaction; ends in 1.
        interaction: how the dense vector and the embeddings meet: dot products of all pairs, or concatenation.
        self_interaction: with dot, include the product of each vector with itself.
        loss: binary cross-entropy (bce), the same with class weights (wbce), or mean squared error of the probability.
        loss_weights: weights of a non-click and of a click, for wbce.
        loss_threshold: t keeps probabilities within t and 1 - t, in training and inference; 0 is off.
        optimizer: sgd, the default of upstream (facebookresearch/dlrm), or adagrad, which learns more from logs of up
            to a few million rows (``configs/experiment/small_log.yaml``); both give tables sparse gradients.
        learning_rate: learning rate before the schedule.
        lr_num_warmup_steps: number of optimizer steps in which the learning rate grows from 0; 0 is off.
        lr_decay_start_step: optimizer step at which the quadratic decay starts.
        lr_num_decay_steps: number of optimizer steps of the decay; 0 is off.
        dataset_fingerprint: fingerprint of the dataset that numbered the categories; the command line reads it from
            the dataset.
        columns: columns of the dataset, or their statement; the command line reads them from the dataset. None:
            Criteo's, or, where the numbers of columns differ from those, the ones of the data module.

    Attributes:
        allow_other_dataset: let the model score rows of a dataset that it was not made for.
        resumed_at: step of the checkpoint that training continues from; None where it starts from the beginning.

    Raises:
        ConfigurationError: the values make no network, loss or schedule; names the one that is wrong.

    Example:
        >>> from dlrm_pl import DLRMModule
        >>> module = DLRMModule(table_sizes=[100, 20], embedding_dim=8, bottom_mlp=[13, 8], top_mlp=[16, 1])
        >>> module.predict(([[3.0] * 13], [[42, 7]])).shape
        (1,)
    """

    def __init__(
        self,
        table_sizes: list[int],
        embedding_dim: int = 16,
        bottom_mlp: Sequence[int] = (0, 512, 256, 64, 16),
        top_mlp: Sequence[int] = (512, 256, 1),
        interaction: Literal["dot", "cat"] = "dot",
        self_interaction: bool = False,
        loss: Loss = "bce",
        loss_weights: Sequence[float] = (1.0, 1.0),
        loss_threshold: float = 0.0,
        optimizer: Literal["sgd", "adagrad"] = "sgd",
        learning_rate: float = 0.1,
        lr_num_warmup_steps: int = 0,
        lr_decay_start_step: int = 0,
        lr_num_decay_steps: int = 0,
        dataset_fingerprint: str = "",
        columns: Columns | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        # Plain lists, since hyperparameters are written to YAML.
        table_sizes, bottom_mlp = plain_list(table_sizes), plain_list(bottom_mlp)
        top_mlp, loss_weights = plain_list(top_mlp), plain_list(loss_weights)
        check_arguments(DLRMModule.__init__, locals())
        if len(loss_weights) != 2 or not all(0 <= weight < float("inf") for weight in loss_weights):
            raise ConfigurationError(
                f"loss_weights={list(loss_weights)} must be two non-negative numbers: the weights of a non-click and "
                "of a click."
            )
        stated = Columns.of_statement(columns, "model.columns") if isinstance(columns, dict) else columns
        if stated is not None:
            stated.require_computed()
        columns = None if stated is None else stated.statement()  # Hyperparameters are plain values.
        self._columns = stated
        self.save_hyperparameters()
        self.dataset_fingerprint = dataset_fingerprint
        self._apply_hyperparameters()
        self.allow_other_dataset = False
        self.resumed_at: int | None = None
        architecture = Architecture(
            table_sizes=tuple(table_sizes),
            embedding_dim=embedding_dim,
            bottom_mlp=with_inputs(bottom_mlp, stated),
            top_mlp=tuple(top_mlp),
            interaction=interaction,
            self_interaction=self_interaction,
            loss_threshold=loss_threshold,
            pooling=pooling_of(stated, len(table_sizes)),
        )
        if stated is not None and (misfit := architecture.misfit(stated)):
            raise ConfigurationError(
                f"The columns do not fit the model: {misfit}. Take table_sizes and columns from one data module; a "
                "bottom_mlp that begins with 0 takes the number of dense columns."
            )
        with torch.device("meta") if skips_weight_init() else nullcontext():
            self.model = DLRM(architecture)
        self._add_metrics()
        self._same_on_all_ranks = False

    @property
    def architecture(self) -> Architecture:
        """Shape of the model."""
        return self.model.architecture

    @property
    def contract(self) -> CheckpointContract:
        """Architecture, dataset and columns that go into a checkpoint."""
        return CheckpointContract(self.architecture, self.dataset_fingerprint, self._columns)

    @property
    def columns(self) -> Columns | None:
        """Columns of the rows that the model scores; None where they are not known."""
        return self.contract.columns

    def check_dataset(
        self, table_sizes: Sequence[int], dataset_fingerprint: str, columns: Columns | None = None
    ) -> str:
        """Check that a dataset is the one that this model was made for.

        Args:
            table_sizes: rows of each table of the dataset.
            dataset_fingerprint: fingerprint of the dataset; empty when it has none.
            columns: columns of the dataset; None when they are not known. A module that was made without columns takes
                them for its own.

        Returns:
            A description of the difference where ``allow_other_dataset`` permits it; else "".

        Raises:
            DatasetError: it is another dataset; names the first column or table that differs, or both fingerprints.
                With ``allow_other_dataset``: a table of the dataset is larger than the model's.
        """
        if self._columns is None and columns is not None and not self.architecture.misfit(columns):
            self._columns = columns
        if self.allow_other_dataset:
            return self.contract.check_usable(table_sizes, dataset_fingerprint, columns)
        self.contract.check_dataset(table_sizes, dataset_fingerprint, columns)
        return ""

    def setup(self, stage: str) -> None:
        """Check the dataset of the data module, if it has one, and keep its fingerprint."""
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None and hasattr(datamodule, "table_sizes"):
            fingerprint = getattr(datamodule, "dataset_fingerprint", "")
            columns = getattr(datamodule, "columns", None)
            difference = self.check_dataset(datamodule.table_sizes, fingerprint, columns)
            if difference:
                log.warning("%s. Continuing because --force was given.", difference)
            self.dataset_fingerprint = self.dataset_fingerprint or fingerprint

    def forward(self, batch: ClickBatch) -> Tensor:
        """Compute logits ``[B]``."""
        logits: Tensor = self.model(batch)
        return logits

    def predict(self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME, raw: bool | None = None) -> Probabilities:
        """Score rows without a Trainer, see ``Scorer.predict``."""
        return self.model.predict(rows, batch_size=batch_size, raw=raw, columns=self.columns)

    def training_step(self, batch: ClickBatch, batch_idx: int) -> Tensor:
        """Compute the loss of a batch.

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        """
        loss = click_loss(self(batch), batch.known_labels, self._loss, self._loss_weights)
        self.model.watch.glance()
        if not torch.isfinite(loss):
            rate = self._schedule.rate(self.global_step + 1)
            raise NonFiniteError(
                f"The loss is {loss.item()} at step {self.global_step}, with a learning rate of {rate:.6g}. Lower "
                "--model.learning_rate, warm up with --model.lr_num_warmup_steps, or check the dense features of the "
                "data for values that are not finite."
            )
        self.log("train_loss", loss, prog_bar=True, batch_size=batch.num_samples)
        return loss

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Names of weights that Lightning and DistributedDataParallel do not synchronize between ranks.

        In training these are the tables, which sparse_gradients.py takes care of. Otherwise the first rank's weights
        would be sent to the others; that is skipped where every rank has them already, since it would copy each page of
        a memory-mapped file.
        """
        names = [name for name, _ in self.named_parameters()]
        if self._trainer is not None and self._trainer.state.fn != TrainerFn.FITTING:
            return names if self._same_on_all_ranks else []
        return [name for name in names if name.startswith("model.embedding_bags.")]

    def on_fit_start(self) -> None:
        """Give all ranks the same tables to start from."""
        if is_distributed() and not self._same_on_all_ranks:
            broadcast(self._tables())
            self._same_on_all_ranks = True

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Average the tables' gradients over ranks, once all accumulated batches are in."""
        if is_distributed():
            average(self._tables())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as the Trainer asks, sparse gradients of tables included."""
        if gradient_clip_val:
            by: Literal["norm", "value"] = "value" if gradient_clip_algorithm == "value" else "norm"
            clip_gradients(self.parameters(), gradient_clip_val, by)

    def predict_step(self, batch: ClickBatch, batch_idx: int) -> Tensor:
        """Compute click probabilities ``[B]``."""
        probabilities = torch.sigmoid(self(batch))
        self.model.watch.glance()
        return probabilities

    def on_predict_epoch_end(self) -> None:
        """Check that the model's file did not change while probabilities were computed."""
        self.model.watch.check()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimizer and upstream's learning-rate schedule, which advances with each optimizer step."""
        if not torch.sparse.check_sparse_tensor_invariants.is_enabled():  # type: ignore[no-untyped-call]
            # This states the default explicitly. Without it torch's Adagrad warns about it, which users cannot change.
            torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]
        kind = torch.optim.SGD if self._optimizer == "sgd" else torch.optim.Adagrad
        optimizer: torch.optim.Optimizer = kind(self.parameters(), lr=self._schedule.base)
        # A lambda is left out of checkpoints, where a method would add an entry.
        scheduler = LambdaLR(optimizer, lambda steps_done: self._schedule.factor(steps_done))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the architecture and the dataset's fingerprint into a checkpoint."""
        self.contract.write(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint fits this module.

        Raises:
            CheckpointError: the checkpoint is not one of this package, or has another architecture, dataset or
                columns; names the difference.
        """
        saved = CheckpointContract.read(checkpoint)
        saved.check_fits(self.architecture, self.dataset_fingerprint, self._columns)
        self._columns = self._columns or saved.columns
        self.dataset_fingerprint = self.dataset_fingerprint or saved.dataset_fingerprint
        if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
            self.resumed_at = checkpoint.get("global_step")
            self._resume_with(checkpoint.get("hyper_parameters", {}))

    def _resume_with(self, saved: Mapping[str, Any]) -> None:
        """Continue training with the hyperparameters of a checkpoint, which its optimizer's state belongs to."""
        own = {name: self.hparams[name] for name in _TRAINING}
        if difference := overruled(saved, own):
            if self.trainer.is_global_zero:
                log.warning("%s", difference)
            self.hparams.update({name: saved[name] for name in _TRAINING if name in saved})
            self._apply_hyperparameters()

    def _apply_hyperparameters(self) -> None:
        hparams = self.hparams
        self._loss: Loss = hparams["loss"]
        self._loss_weights = (hparams["loss_weights"][0], hparams["loss_weights"][1])
        self._optimizer: str = hparams["optimizer"]
        self._schedule = WarmupDecay(
            base=hparams["learning_rate"],
            warmup_steps=hparams["lr_num_warmup_steps"],
            decay_start_step=hparams["lr_decay_start_step"],
            decay_steps=hparams["lr_num_decay_steps"],
        )

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a state dict as torch does; a module without initial weights takes the tensors without copying them."""
        assign = assign or any(parameter.is_meta for parameter in self.parameters())
        # The tensors are those of a file, which every rank reads.
        self._same_on_all_ranks = assign
        # A copy of the dict, since torch notes `assign` in its metadata, which would affect the next load.
        return super().load_state_dict(dict(state_dict) if assign else state_dict, strict=strict, assign=assign)

    def cpu(self) -> Self:
        """Move the module to the CPU; a run that ended before weights were loaded has nothing to move."""
        return self if any(parameter.is_meta for parameter in self.parameters()) else super().cpu()

    def _tables(self) -> list[torch.nn.Parameter]:
        return list(self.model.embedding_bags.parameters())
