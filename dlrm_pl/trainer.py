"""DLRMTrainer: Lightning's Trainer, and what a click model needs beyond it. The docstrings are the --help text."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.trainer.states import TrainerFn

from dlrm_pl.artifact.build import Outcome
from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.callbacks.earlier_checkpoints import check_earlier_checkpoints
from dlrm_pl.callbacks.monitors import check_monitors
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.documents.docstrings import describes_arguments_by
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.migration.lpot.apply import apply_lpot_conf
from dlrm_pl.model.load import load_into
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.objective import ObjectiveName
from dlrm_pl.quantization.search.settings import StopAt, TuningSettings, stop_at_or_until
from dlrm_pl.serving.predictor import check_predictions_path, write_predictions
from dlrm_pl.workflow.config import QuantizationConfig
from dlrm_pl.workflow.quantize import quantize_module
from dlrm_pl.workflow.trial_scalars import TrialScalars

log = logging.getLogger(__name__)

_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "max_epochs": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
}
"""Of numbers that Lightning does not check, or only when it has come to them."""


class _EpochsAreDone(_FitLoop):
    """Lightning's loop, where an epoch that a checkpoint has finished is finished under ``max_steps`` as well.

    Lightning would end such an epoch once more: it counts two for one, so that ``max_epochs`` stops the run before
    anything is trained, or the next rows are those of a later epoch.
    """

    def _iteration_based_training(self) -> bool:
        return False


class DLRMTrainer(pl.Trainer):
    """Lightning's Trainer with ``quantize``, and checkpoints that are never half-written.

    Args:
        use_distributed_sampler: let Lightning replace the sampler on several ranks. Off, since the data module
            deals disjoint and complete shares itself.
        kwargs: Lightning's own arguments.

    Raises:
        ConfigurationError: a number that Lightning divides by, or would train backwards by.
    """

    def __init__(self, *, use_distributed_sampler: bool = False, **kwargs: Any) -> None:
        for name, least in _LEAST.items():
            if (value := kwargs.get(name)) is not None and not value >= least:
                raise ConfigurationError(f"trainer.{name}={value} must be {least} or more.")
        if kwargs.get("val_check_interval") == 0:
            raise ConfigurationError(
                "trainer.val_check_interval=0 must be more: a share of the epoch or a number of batches. Without "
                "validation: trainer.limit_val_batches=0."
            )
        super().__init__(use_distributed_sampler=use_distributed_sampler, **kwargs)
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:  # The default, not another one of the user's.
            self.strategy.checkpoint_io = AtomicCheckpointIO()
        loop = _EpochsAreDone(self, self.fit_loop.min_epochs, self.fit_loop.max_epochs)
        loop.epoch_loop = self.fit_loop.epoch_loop
        self.fit_loop = loop
        self.outcome: Outcome | None = None
        self.overwrite = False  # Whether ``fit`` may replace what an earlier run has left; callbacks read it.

    def fit(  # type: ignore[override]
        self,
        model: DLRMModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: DLRMDataModule | None = None,
        ckpt_path: str | None = None,
        weights_only: bool = True,
        overwrite: bool = False,
    ) -> None:
        """Train a model on a dataset folder.

        Args:
            model: the module.
            train_dataloaders: instead of the data module's.
            val_dataloaders: instead of the data module's.
            datamodule: gives train and val.
            ckpt_path: checkpoint of a run to go on with, in the middle of an epoch as well; its hyperparameters win
                over those of files and flags.
            weights_only: run no code that a checkpoint may hold.
            overwrite: replace the checkpoints, and the artifact, of an earlier run.

        Raises:
            ConfigurationError: there is no checkpoint of that name, or a callback watches a metric that is not there.
            OutputError: what an earlier run has left would be replaced.
        """
        check_monitors(model, self.callbacks, validates=self.limit_val_batches != 0)  # type: ignore[attr-defined]
        self.overwrite = overwrite
        if ckpt_path is not None:
            ckpt_path = self.checkpoint_file(ckpt_path)
            if _is_file_name(ckpt_path):
                log.info("%s", _memory_to_train(model, ckpt_path))
        elif not overwrite and not self.fast_dev_run and self.global_step == 0:  # type: ignore[attr-defined]
            default = None if self.loggers else Path(self.default_root_dir) / "checkpoints"
            check_earlier_checkpoints(self.checkpoint_callbacks, default)
        before = self.global_step
        super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)
        if self.is_global_zero and self.global_step == (before if ckpt_path is None else model.resumed_at):
            log.warning("%s", self._why_nothing_was_trained())

    def validate(  # type: ignore[override]
        self,
        model: DLRMModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | None = None,
        verbose: bool = True,
        datamodule: DLRMDataModule | None = None,
        weights_only: bool = True,
        force: bool = False,
    ) -> Any:
        """Score a checkpoint on the val split.

        Args:
            model: the module.
            dataloaders: instead of the data module's.
            ckpt_path: checkpoint to load; its hyperparameters win over those of files and flags.
            verbose: print the metrics.
            datamodule: gives val.
            weights_only: run no code that a checkpoint may hold.
            force: score rows of another dataset than the model was made for, if no table of it is larger.
        """
        ckpt_path = self._load(model, ckpt_path, force)
        return super().validate(model, dataloaders, ckpt_path, verbose, datamodule, weights_only)

    def test(  # type: ignore[override]
        self,
        model: DLRMModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | None = None,
        verbose: bool = True,
        datamodule: DLRMDataModule | None = None,
        weights_only: bool = True,
        force: bool = False,
    ) -> Any:
        """Score a checkpoint on the test split.

        Args:
            model: the module.
            dataloaders: instead of the data module's.
            ckpt_path: checkpoint to load; its hyperparameters win over those of files and flags.
            verbose: print the metrics.
            datamodule: gives test.
            weights_only: run no code that a checkpoint may hold.
            force: score rows of another dataset than the model was made for, if no table of it is larger.
        """
        ckpt_path = self._load(model, ckpt_path, force)
        return super().test(model, dataloaders, ckpt_path, verbose, datamodule, weights_only)

    @describes_arguments_by(TuningSettings, QuantizationConfig, Criterion)
    def quantize(  # noqa: D417 (the decorator describes the other options)
        self,
        model: DLRMModule,
        datamodule: DLRMDataModule,
        ckpt_path: str | None = None,
        *,
        output: str | None = None,
        relative: float | None = None,
        absolute: float | None = None,
        timeout_s: float | None = None,
        max_trials: int | None = None,
        strategy: str | None = None,
        objective: ObjectiveName | None = None,
        stop_at: StopAt | None = None,
        seed: int | None = None,
        lpot_conf: str | None = None,
        allow_nonfinite: bool = False,
        force: bool = False,
        overwrite: bool = False,
        weights_only: bool = True,
        until: StopAt | None = None,
    ) -> Outcome:
        """Turn a trained model into a verified int8 artifact.

        The settings are those of the QuantizationCallback among ``trainer.callbacks``, or its defaults where there
        is none; the options here override them. Exit status 3: no model was within tolerance; 4: the rows of test are
        too few to tell. The best model is saved in either case.

        Args:
            model: the module; trained, or to be loaded from ``ckpt_path``.
            datamodule: gives calibration, tuning and certification rows.
            ckpt_path: checkpoint to load; its hyperparameters win over those of files and flags.
            lpot_conf: a conf.yaml of LPOT, read as it is; it wins over the callback's settings, and the options here
                win over it.
            force: use another dataset than the model was made for, if no table of it is larger; the certificate
                says so.
            weights_only: checkpoints are always loaded so; here for the sake of configurations that `fit` saved.
            until: earlier name of ``stop_at``.
        """
        callback = self._quantization_callback()
        config = QuantizationConfig() if callback is None else callback.config
        if lpot_conf is not None:
            config = apply_lpot_conf(
                lpot_conf,
                config,
                architecture=model.architecture,
                calibration_rows=datamodule.calibration_rows,
                has_logger=bool(self.loggers),
            )
        options = {
            "timeout_s": timeout_s,
            "max_trials": max_trials,
            "strategy": strategy,
            "objective": objective,
            "stop_at": stop_at_or_until(stop_at, until),
            "seed": seed,
        }
        tuning: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        if relative is not None or absolute is not None:
            tuning["criterion"] = dataclasses.replace(config.tuning.criterion, relative=relative, absolute=absolute)
        config = dataclasses.replace(
            config,
            output=config.output if output is None else Path(output),
            tuning=dataclasses.replace(config.tuning, **tuning),
            allow_nonfinite=config.allow_nonfinite or allow_nonfinite,
            overwrite=config.overwrite or overwrite,
        )
        if left := self._load(model, ckpt_path, force, reads_all=True):
            raise ConfigurationError(f"quantize reads checkpoints from files alone, not {left!r}. Copy it to a file.")
        listeners = [TrialScalars(self.loggers), *([] if callback is None else callback.listeners)]
        self.outcome = quantize_module(model, datamodule, config, listeners=listeners)
        return self.outcome

    def predict(  # type: ignore[override]
        self,
        model: DLRMModule | None = None,
        dataloaders: Any = None,
        datamodule: DLRMDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | None = None,
        weights_only: bool = True,
        output: str | None = None,
        force: bool = False,
        overwrite: bool = False,
    ) -> Any:
        """Score rows with a checkpoint, or with an int8 artifact (`predict --artifact`).

        Args:
            model: the module.
            dataloaders: instead of the data module's.
            datamodule: gives the rows: ``data.predict_split``, or ``data.predict_raw`` for a raw log.
            return_predictions: keep the probabilities in memory and return them, as is done unless this is false;
                ``output`` needs it.
            ckpt_path: checkpoint to load; its hyperparameters win over those of files and flags.
            weights_only: run no code that a checkpoint may hold.
            output: file to write a click probability a row to, in order: .csv or .npy; or a pipe, or /dev/stdout.
            force: score rows of another dataset than the model was made for, if no table of it is larger.
            overwrite: replace an earlier file under the name of ``output``.
        """
        if output is not None:
            check_predictions_path(Path(output), overwrite)
        ckpt_path = self._load(model, ckpt_path, force)
        if output is not None and self.world_size > 1:
            raise ConfigurationError(f"predict writes {output} from one process: give --trainer.devices 1.")
        kept = True if output is not None else return_predictions
        predictions = super().predict(model, dataloaders, datamodule, kept, ckpt_path, weights_only)
        if output is not None and predictions is not None and self.is_global_zero:
            rows = write_predictions(Path(output), (batch.cpu().numpy() for batch in predictions))  # type: ignore[union-attr]
            log.info("%s: %s click probabilities", output, f"{rows:,}")
        return predictions

    def checkpoint_file(self, ckpt_path: str) -> str:
        """The file that one of Lightning's names for a checkpoint means; anything else as it is.

        Raises:
            ConfigurationError: there is none. Lightning would train from scratch where "last" is missing.
        """
        if ckpt_path not in ("best", "last", "hpc"):
            return ckpt_path
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*there is no last checkpoint available")
            try:
                found = self._checkpoint_connector._parse_ckpt_path(
                    TrainerFn.FITTING, ckpt_path, model_provided=True, model_connected=True
                )
            except ValueError:
                found = None
        if found is None:
            where = {
                "best": "this Trainer's ModelCheckpoint has saved none yet",
                "last": f"no file last*.ckpt lies in {', '.join(self._checkpoint_folders()) or 'any folder'}; "
                "ModelCheckpoint writes it with save_last: true",
                "hpc": f"no file hpc_ckpt_*.ckpt lies in {self.default_root_dir}",
            }
            raise ConfigurationError(
                f"ckpt_path={ckpt_path!r}: there is no such checkpoint: {where[ckpt_path]}. Give the path of a file; "
                "without ckpt_path, fit trains from the beginning."
            )
        return str(found)

    def _checkpoint_folders(self) -> list[str]:
        """Where the ModelCheckpoints of this Trainer write, as far as they say so."""
        callbacks = [callback for callback in self.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
        return [str(callback.dirpath or "the folder of the logger") for callback in callbacks]

    def _why_nothing_was_trained(self) -> str:
        """For a message."""
        limits = {"max_epochs": self.max_epochs, "max_steps": self.max_steps}
        if self.limit_train_batches == 0:
            limits = {"limit_train_batches": 0}
        given = " and ".join(f"{name}={value}" for name, value in limits.items() if value not in (None, -1))
        return (
            f"Nothing was trained: the run ends at {given}, and it stands at step {self.global_step:,}, with "
            f"{self.current_epoch:,} {'epoch' if self.current_epoch == 1 else 'epochs'} done. Give more to go on."
        )

    def _quantization_callback(self) -> QuantizationCallback | None:
        """The last QuantizationCallback of this Trainer."""
        callbacks: list[Any] = self.callbacks  # type: ignore[attr-defined]
        found = [callback for callback in callbacks if isinstance(callback, QuantizationCallback)]
        return found[-1] if found else None

    def _load(
        self, model: DLRMModule | None, ckpt_path: str | None, force: bool, *, reads_all: bool = False
    ) -> str | None:
        """Load a checkpoint through a map, where Lightning would read it into memory and then copy it.

        Args:
            model: to load it into.
            ckpt_path: the file, or one of Lightning's names.
            force: accept another dataset.
            reads_all: all weights will be read, and compared with their checksums then.

        Returns:
            What is left to Lightning: a URL, or the file for the model that it has.

        Raises:
            ConfigurationError: there is no checkpoint of that name.
        """
        if model is not None:
            model.allow_other_dataset = force
        if ckpt_path is None:
            return None
        ckpt_path = self.checkpoint_file(ckpt_path)
        if model is None or not _is_file_name(ckpt_path):
            return ckpt_path
        left = load_into(model, Path(ckpt_path).expanduser())
        log.info("%s: loaded; its tables are read where they are touched", ckpt_path)
        if left and not reads_all:
            log.info("%s: not compared with its checksums: %s; `inspect --full true` does that", ckpt_path, left)
        return None


def _is_file_name(ckpt_path: str) -> bool:
    """Whether this is neither a model of Lightning's registry nor a URL."""
    return ckpt_path != "registry" and ":" not in ckpt_path


def _memory_to_train(model: DLRMModule, ckpt_path: str) -> str:
    """What going on from a checkpoint will take."""
    tables = 4 * sum(model.architecture.table_sizes) * model.architecture.embedding_dim
    state = f", and the state of Adagrad {format_bytes(tables)} more" if model.hparams["optimizer"] == "adagrad" else ""
    return (
        f"memory: the tables' {format_bytes(tables)} stay in {ckpt_path}; each row that is trained takes its page of "
        f"4 KiB, so up to all of them{state}. A checkpoint of it takes as much disk"
    )
