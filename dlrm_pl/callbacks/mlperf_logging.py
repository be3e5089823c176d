"""MLPerf training logs: the `:::MLLOG` lines of a run, written with ``mlperf-logging`` (extra ``mlperf``)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.extras import missing_extra
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings


class _StrictFileHandler(logging.FileHandler):
    """File handler that stops the run when the disk is full, where logging prints a traceback for each line."""

    _error: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless an earlier line could not be written.

        Raises:
            OSError: the error of the earlier line. mllog mistakes it for a line that cannot be encoded and logs another
                line, whose error then propagates out of mllog.
        """
        if self._error is not None:
            raise self._error
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Keep the error that ``emit`` caught, add the file's name, and raise it."""
        error = sys.exception()
        if isinstance(error, OSError):
            error.filename = error.filename or self.baseFilename
            self._error = error
        raise

    def close(self) -> None:
        """Close the file; an error of its last lines was raised already."""
        with nullcontext() if self._error is None else suppress(OSError):
            super().close()


class MLPerfLogging(pl.Callback):
    """Write the events that MLPerf's training rules require, on rank zero.

    For DLRM, the rules are those of MLPerf training 2.1, the last version with this model: a run with MLPerf's layers
    and SGD whose AUROC reaches 0.8025 passes the compliance checker in the closed division. For a model with a cross
    network, they are those for DLRM-DCNv2 in version 6.0, the last with that model: Adagrad with an epsilon of 1e-8,
    and an AUROC of 0.80275.

    Args:
        path: file to write; each run overwrites it.
        auroc_threshold: val AUROC above which the run has status ``success``.
        org: organization that submits the result.
        platform: name of the machine in the submission.
        division: division of the submission, ``closed`` or ``open``.

    Raises:
        ConfigurationError: ``mlperf-logging`` is not installed, or the rules do not allow a value.

    Example:
        >>> import dlrm_pl
        >>> callback = dlrm_pl.MLPerfLogging("mlperf.log", org="example", platform="2x CPU")
        >>> trainer = dlrm_pl.DLRMTrainer(callbacks=[callback], logger=False)  # Then trainer.fit(...).
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "mlperf.log",
        auroc_threshold: float = 0.8025,
        org: str = "unknown",
        platform: str = "unknown",
        division: Literal["closed", "open"] = "closed",
    ) -> None:
        super().__init__()
        check_arguments(MLPerfLogging.__init__, locals())
        if not 0 < auroc_threshold < 1:
            raise ConfigurationError(f"auroc_threshold={auroc_threshold} must be between 0 and 1.")
        for name, value in {"path": path, "org": org, "platform": platform}.items():
            if not value:
                raise ConfigurationError(f"MLPerfLogging: {name} is empty. Give a value, or leave it out.")
        try:
            from mlperf_logging.mllog import constants, mllog
        except ImportError as error:
            raise missing_extra("MLPerfLogging needs mlperf-logging", "mlperf", error) from None
        self._keys = constants
        self._path = Path(path)
        self._threshold = auroc_threshold
        self._submission = {
            constants.SUBMISSION_ORG: org,
            constants.SUBMISSION_PLATFORM: platform,
            constants.SUBMISSION_DIVISION: division,
            constants.SUBMISSION_STATUS: constants.ONPREM,
        }
        # A separate logger: mllog's shared one prints to stdout and keeps its handlers forever.
        self._file_logger = logging.Logger(f"{__name__}.{id(self)}", logging.INFO)
        # With this offset and root, an event names the hook below that logged it, by its path in the package.
        root = str(Path(__file__).parents[2])
        self._log = mllog.MLLogger(logger=self._file_logger, default_stack_offset=3, root_dir=root)
        self._running = False
        self._reached = False

    def __repr__(self) -> str:
        """Name the file."""
        return f"MLPerfLogging({str(self._path)!r})"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Open the file."""
        if stage == "fit":
            self._open()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the submission, the data and the hyperparameters, and start the clock."""
        keys = self._keys
        is_v2 = isinstance(pl_module, DLRMModule) and pl_module.architecture.interaction == "dcn"
        self._event(keys.SUBMISSION_BENCHMARK, keys.DLRM_DCNv2 if is_v2 else "dlrm")
        for key, value in self._submission.items():
            self._event(key, value)
        for key, value in self._facts(trainer, pl_module).items():
            if value is not None:
                self._event(key, value)
        if isinstance(pl_module, DLRMModule):
            for tensor in _tensors(pl_module.architecture):
                self._event(keys.WEIGHTS_INITIALIZATION, None, tensor=tensor)
        self._interval("end", keys.INIT_STOP)
        self._interval("start", keys.RUN_START)
        self._running = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the start of an epoch."""
        self._interval("start", self._keys.EPOCH_START, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the end of an epoch."""
        self._interval("end", self._keys.EPOCH_STOP, trainer.current_epoch)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the start of an evaluation."""
        if self._running and not trainer.sanity_checking:
            self._interval("start", self._keys.EVAL_START, self._epochs_done(trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the val AUROC, and note whether it reached the threshold."""
        if not self._running or trainer.sanity_checking:
            return
        auroc = trainer.callback_metrics.get("val_auroc")
        if auroc is not None:
            self._event(self._keys.EVAL_ACCURACY, float(auroc), self._epochs_done(trainer))
            self._reached = self._reached or float(auroc) > self._threshold
        self._interval("end", self._keys.EVAL_STOP, self._epochs_done(trainer))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._stop(self._keys.SUCCESS if self._reached else self._keys.ABORTED)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Log a run that was interrupted or failed as aborted."""
        self._stop(self._keys.ABORTED)

    @rank_zero_only
    def _open(self) -> None:
        self._close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file_logger.addHandler(_StrictFileHandler(self._path, mode="w", encoding="utf-8"))
        self._reached = False
        self._event(self._keys.CACHE_CLEAR, True)
        self._interval("start", self._keys.INIT_START)

    def _stop(self, status: str) -> None:
        if self._running:
            self._running = False
            self._log_end_of_run(status)
        self._close()

    @rank_zero_only
    def _log_end_of_run(self, status: str) -> None:
        self._log.end(self._keys.RUN_STOP, metadata={self._keys.STATUS: status})

    def _close(self) -> None:
        for handler in self._file_logger.handlers[:]:
            self._file_logger.removeHandler(handler)
            handler.close()

    @rank_zero_only
    def _event(self, key: str, value: Any, epoch: float | None = None, *, tensor: str | None = None) -> None:
        metadata = {self._keys.EPOCH_NUM: epoch, "tensor": tensor}
        self._log.event(key, value, metadata={name: said for name, said in metadata.items() if said is not None})

    @rank_zero_only
    def _interval(self, side: str, key: str, epoch: float | None = None) -> None:
        write = self._log.start if side == "start" else self._log.end
        write(key, metadata=None if epoch is None else {self._keys.EPOCH_NUM: epoch})

    def _facts(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Values that the rules require to be logged once; None if the module or the data module has none."""
        keys, chosen = self._keys, pl_module.hparams
        optimizers = dict.fromkeys(filter(None, (chosen.get("optimizer"), chosen.get("dense_optimizer"))))
        of_optimizer = {"sgd": self._facts_of_sgd, "adagrad": self._facts_of_adagrad}
        name = "+".join(optimizers)
        further = of_optimizer[name](chosen) if name in of_optimizer else {}
        data = trainer.datamodule  # type: ignore[attr-defined]
        splits = data.folder.splits if hasattr(data, "folder") else {}
        batch_size = getattr(data, "batch_size", None)
        accumulated = trainer.accumulate_grad_batches
        return {
            keys.SEED: torch.initial_seed(),  # The seed of seed_everything, or one that was set after it.
            keys.GLOBAL_BATCH_SIZE: None if batch_size is None else batch_size * trainer.world_size * accumulated,
            keys.GRADIENT_ACCUMULATION_STEPS: accumulated,
            keys.TRAIN_SAMPLES: splits["train"].records if splits else None,
            keys.EVAL_SAMPLES: splits["val"].records if splits else None,
            keys.OPT_NAME: name or None,
            keys.OPT_BASE_LR: chosen.get("learning_rate"),
            keys.OPT_LR_WARMUP_STEPS: chosen.get("lr_num_warmup_steps"),
            "lr_decay_start_steps": chosen.get("lr_decay_start_step"),
            "lr_decay_steps": chosen.get("lr_num_decay_steps"),
        } | further

    def _facts_of_sgd(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The same values under the rules' names for SGD, where the decay is polynomial with a given power."""
        is_polynomial = chosen.get("lr_schedule", "upstream") in ("upstream", "polynomial")
        return {
            "sgd_opt_base_learning_rate": chosen.get("learning_rate"),
            "sgd_opt_learning_rate_decay_poly_power": chosen.get("lr_decay_power", 2) if is_polynomial else None,
            "sgd_opt_learning_rate_decay_steps": chosen.get("lr_num_decay_steps"),
        }

    def _facts_of_adagrad(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Values that the rules of DLRM-DCNv2 require; each holds for both tables and layers."""
        keys = self._keys
        settings = OptimizerSettings(
            optimizer="adagrad",
            epsilon=chosen.get("epsilon"),
            dense_optimizer=chosen.get("dense_optimizer"),
            dense_epsilon=chosen.get("dense_epsilon"),
        )
        is_same = settings.table_epsilon == settings.mlp_epsilon
        return {
            keys.OPT_ADAGRAD_LR_DECAY: 0,
            keys.OPT_WEIGHT_DECAY: 0,
            keys.OPT_ADAGRAD_INITIAL_ACCUMULATOR_VALUE: 0,
            keys.OPT_ADAGRAD_EPSILON: settings.table_epsilon if is_same else None,
            keys.OPT_LR_DECAY_START_STEP: chosen.get("lr_decay_start_step"),
            keys.OPT_LR_DECAY_STEPS: chosen.get("lr_num_decay_steps"),
        }

    def _epochs_done(self, trainer: pl.Trainer) -> float:
        """Number of epochs so far, as a fraction: the threshold is often reached within the first."""
        batches = trainer.num_training_batches
        return trainer.global_step / batches if batches and batches != float("inf") else float(trainer.current_epoch)


def _tensors(architecture: Architecture) -> list[str]:
    """The rules' names of the initialized tensors; a model with other depths than MLPerf's has other names."""
    layers = {"bottom_mlp": len(architecture.bottom_mlp) - 1, "top_mlp": len(architecture.top_mlp)}
    dense = [f"{part}_dense{number}" for part, count in layers.items() for number in range(1, count + 1)]
    crossed = [f"cross_net_layer{number}" for number in range(1, architecture.cross_layers + 1)]
    return ["embeddings", *dense, *crossed]
