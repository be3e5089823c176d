"""Checkpoints of a click model, and the dataset it belongs to, for Lightning's Trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from pytorch_lightning.trainer.states import TrainerFn
from torch.optim.lr_scheduler import LambdaLR

from dlrm_pl.model.checkpoints.contract import QUANTIZATION_KEY, CheckpointContract
from dlrm_pl.model.of_dataset import OfDataset
from dlrm_pl.model.training.gpu.gpu_module import GPUModule
from dlrm_pl.model.training.resuming.accumulation import rewind_to_last_step
from dlrm_pl.model.training.resuming.changed_rates import give_numbers
from dlrm_pl.model.training.resuming.run_record import RunRecord
from dlrm_pl.model.training.resuming.run_settings import accumulation_scheduler, run_settings
from dlrm_pl.model.training.safeguards.precision import check_precision
from dlrm_pl.model.weighted_bags import fit_row_weights

log = logging.getLogger(__name__)


class StoredModule(OfDataset, GPUModule):
    """The part of ``DLRMModule`` that belongs to a dataset, and is saved and loaded.

    Attributes:
        dataset_fingerprint: fingerprint of the dataset whose dictionaries assigned the category ids.
        allow_other_dataset: let the model score rows of a dataset that it was not made for.
        allow_other_settings: let training continue with a batch size, order or precision that differs from the
            checkpoint's.
        resumed_at: step of the checkpoint that training continues from; None if it starts from the beginning.
    """

    allow_other_settings: bool
    resumed_at: int | None
    _record: RunRecord
    _resumed: RunRecord | None

    def setup(self, stage: str) -> None:
        """Check the training precision and the data module's dataset, whose fingerprint is stored."""
        if stage == "fit":
            check_precision(str(self.trainer.precision))
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None and hasattr(datamodule, "table_sizes"):
            fingerprint = getattr(datamodule, "dataset_fingerprint", "")
            columns = getattr(datamodule, "columns", None)
            difference = self.check_dataset(datamodule.table_sizes, fingerprint, columns)
            if difference:
                log.warning("%s. Continuing because --force was given.", difference)
            self.dataset_fingerprint = self.dataset_fingerprint or fingerprint
        super().setup(stage)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the architecture, the dataset's fingerprint and how the model is trained into a checkpoint."""
        self.contract.write(checkpoint)
        if self.model.trained_quantization is not None:
            checkpoint[QUANTIZATION_KEY] = dict(self.model.trained_quantization)
        if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
            rewind_to_last_step(checkpoint, self._trainer.accumulate_grad_batches)
            replace(self._record, settings=run_settings(self._trainer, self.engine_name)).write(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint fits this module.

        Raises:
            CheckpointError: the checkpoint is not one of this package, or has another architecture, dataset or columns;
                the message names the difference.
            ConfigurationError: the training has other settings than the checkpoint; the message names them.
        """
        saved = CheckpointContract.read(checkpoint)
        saved.check_fits(self.architecture, self.dataset_fingerprint, self._columns)
        self._columns = self._columns or saved.columns
        self.dataset_fingerprint = self.dataset_fingerprint or saved.dataset_fingerprint
        fit_row_weights(checkpoint, self.model.embedding_bags)
        self.model.trained_quantization = checkpoint.get(QUANTIZATION_KEY)
        if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
            self.resumed_at = checkpoint.get("global_step")
            record = RunRecord.read(checkpoint)
            hyperparameters = self._training_hyperparameters(checkpoint.get("hyper_parameters", {}))
            self._resumed = replace(record, settings=dict(record.settings) | hyperparameters)
            self._check_settings(run_settings(self._trainer))

    def on_fit_start(self) -> None:
        """Check that the engine, which is known by now, is the same as in the checkpoint.

        Raises:
            ConfigurationError: the engine is another one.
        """
        super().on_fit_start()
        if self._resumed is not None:
            self._check_settings(run_settings(self.trainer, self.engine_name))

    def on_train_start(self) -> None:
        """Give the restored optimizer this module's hyperparameters, if they override those of the checkpoint."""
        super().on_train_start()
        if self._resumed is not None and (scheduler := accumulation_scheduler(self.trainer)) is not None:
            # Lightning calls the scheduler when an epoch starts, but not when training resumes within one.
            self.trainer.accumulate_grad_batches = scheduler.get_accumulate_grad_batches(self.trainer.current_epoch)
        if self._resumed is not None and len(self._record.overridden) > len(self._resumed.overridden):
            schedulers = [config.scheduler for config in self.trainer.lr_scheduler_configs]
            of_lambda = [scheduler for scheduler in schedulers if isinstance(scheduler, LambdaLR)]
            give_numbers(self.trainer.optimizers[0], of_lambda, self._numbers)
        self._resumed = None

    def _check_settings(self, now: Mapping[str, Any]) -> None:
        """Compare the settings with those of a checkpoint, and keep the record that later checkpoints get."""
        assert self._resumed is not None
        now = dict(now) | self._training_hyperparameters(self.hparams)
        step = self.resumed_at or 0
        self._record = self._resumed.resumed(now, step=step, override=self.allow_other_settings)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a state dict like torch; a module without initial weights takes the tensors without copying them."""
        assign = assign or any(parameter.is_meta for parameter in self.parameters())
        # The tensors come from a file, which every rank reads.
        self._same_on_all_ranks = assign
        # The dict is copied, since torch records `assign` in its metadata, which would affect the next load.
        return super().load_state_dict(dict(state_dict) if assign else state_dict, strict=strict, assign=assign)

    def cpu(self) -> Self:
        """Move the module to the CPU; a run that ended before weights were loaded has nothing to move."""
        return self if any(parameter.is_meta for parameter in self.parameters()) else super().cpu()
