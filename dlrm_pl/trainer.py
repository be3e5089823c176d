"""DLRMTrainer: Lightning's Trainer with what a click model needs in addition. The docstrings are the --help text."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.callbacks.earlier_checkpoints import check_earlier_checkpoints
from dlrm_pl.callbacks.monitors import check_monitors
from dlrm_pl.callbacks.predictions import WritePredictions
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.callbacks.throughput import add_throughput_monitor
from dlrm_pl.data.loading.split_loaders import CALIBRATION_ROWS
from dlrm_pl.distributed.predictions import in_order_of_rows
from dlrm_pl.distributed.strategy import ShardedStrategy
from dlrm_pl.documents.docstrings import describes_arguments_by
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.lpot.apply import apply_lpot_conf
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.load import load_into
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.quantization_data import QuantizationData
from dlrm_pl.quantization.search.objective import ObjectiveName
from dlrm_pl.quantization.search.settings import StopAt, TuningSettings, stop_at_or_until
from dlrm_pl.serving.output import check_predictions_path, output_path, predictions_file, write_predictions
from dlrm_pl.training_loop.arguments import check_trainer_arguments
from dlrm_pl.training_loop.checkpoint_names import checkpoint_file, is_file_name
from dlrm_pl.training_loop.checkpoints import add_checkpoint_io, folders_for_one_training
from dlrm_pl.training_loop.epochs import replace_loop
from dlrm_pl.training_loop.limits import why_nothing_was_trained
from dlrm_pl.training_loop.memory import check_memory
from dlrm_pl.workflow.config import QuantizationConfig
from dlrm_pl.workflow.options import with_options
from dlrm_pl.workflow.quantize import quantize_module
from dlrm_pl.workflow.training_record import training_of
from dlrm_pl.workflow.trial_scalars import TrialScalars

log = logging.getLogger(__name__)


class DLRMTrainer(pl.Trainer):
    """Lightning's Trainer with ``quantize`` and atomic checkpoints.

    Args:
        async_checkpoints: write checkpoints in a second process while training continues, from a snapshot of the
            memory. Training is then interrupted for milliseconds instead of until gigabytes are on disk; memory grows
            by the pages that training changes before they are written.
        use_distributed_sampler: let Lightning replace the sampler on several ranks. It is not needed: the data module
            gives each rank its own rows.
        kwargs: other arguments of Lightning's Trainer.

    Attributes:
        outcome: result of the last ``quantize``; None before that.
        predicted_rows: number of rows that the last ``predict`` wrote to its ``output``, on the first process.
        overwrite: whether the running ``fit`` may overwrite the files of an earlier run; callbacks read this.

    Raises:
        ConfigurationError: an argument is out of range, even if Lightning itself would accept it.

    Example:
        >>> import dlrm_pl
        >>> trainer = dlrm_pl.DLRMTrainer(accelerator="cpu", max_epochs=1, logger=False)
        >>> trainer.max_epochs  # Then trainer.fit(module, datamodule=datamodule).
        1
        >>> dlrm_pl.DLRMTrainer(accumulate_grad_batches=0)
        Traceback (most recent call last):
            ...
        dlrm_pl.errors.ConfigurationError: trainer.accumulate_grad_batches=0 must be 1 or more.
    """

    def __init__(
        self, *, async_checkpoints: bool = False, use_distributed_sampler: bool = False, **kwargs: Any
    ) -> None:
        check_trainer_arguments(kwargs)
        super().__init__(use_distributed_sampler=use_distributed_sampler, **kwargs)
        add_checkpoint_io(self, async_checkpoints)
        replace_loop(self)
        self.outcome: Outcome | None = None
        self.predicted_rows = 0
        self.overwrite = False

    def fit(  # type: ignore[override]
        self,
        model: DLRMModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        weights_only: bool = True,
        overwrite: bool = False,
        override: bool = False,
    ) -> None:
        """Train a model on a dataset folder.

        Args:
            model: module to train.
            train_dataloaders: training batches, instead of those of the data module.
            val_dataloaders: validation batches, instead of those of the data module.
            datamodule: data module with the train and val splits.
            ckpt_path: checkpoint to resume from, even in the middle of an epoch; hyperparameters that are not given are
                taken from the checkpoint.
            weights_only: load tensors and plain types only, and run no code from a checkpoint.
            overwrite: overwrite the checkpoints and the artifact of an earlier run.
            override: continue from ``ckpt_path`` even if hyperparameters, the batch size, the order of the rows, the
                precision or similar settings differ from those it was saved with; later checkpoints record this.

        Raises:
            ConfigurationError: the checkpoint does not exist or was saved with other settings, or a callback monitors
                an unknown metric.
            OutputError: files of an earlier run would be overwritten, or another process trains into the same folder.
        """
        check_monitors(model, self.callbacks, validates=self.limit_val_batches != 0)  # type: ignore[attr-defined]
        self.overwrite = overwrite
        add_throughput_monitor(self)
        if ckpt_path is not None:
            ckpt_path = self.checkpoint_file(ckpt_path)
        elif not overwrite and not self.fast_dev_run and self.global_step == 0:  # type: ignore[attr-defined]
            default = None if self.loggers else Path(self.default_root_dir) / "checkpoints"
            check_earlier_checkpoints(self.checkpoint_callbacks, default)
        if not isinstance(self.strategy, ShardedStrategy):
            check_memory(self, model, datamodule, ckpt_path)
        model.allow_other_settings = override
        before = self.global_step
        with folders_for_one_training(self):
            super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)
        if self.is_global_zero and self.global_step == (before if ckpt_path is None else model.resumed_at):
            log.warning("%s", why_nothing_was_trained(self))

    def validate(  # type: ignore[override]
        self,
        model: DLRMModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
        weights_only: bool = True,
        force: bool = False,
    ) -> Any:
        """Score a checkpoint on the val split.

        Args:
            model: module to score.
            dataloaders: batches to score, instead of those of the data module.
            ckpt_path: checkpoint to load; its hyperparameters override those of files and flags.
            verbose: print the metrics.
            datamodule: data module with the val split.
            weights_only: load tensors and plain types only, and run no code from a checkpoint.
            force: score rows of a dataset other than the one that the model was trained on, if none of its tables is
                larger.
        """
        ckpt_path = self._load(model, ckpt_path, force)
        return super().validate(model, dataloaders, ckpt_path, verbose, datamodule, weights_only)

    def test(  # type: ignore[override]
        self,
        model: DLRMModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
        weights_only: bool = True,
        force: bool = False,
    ) -> Any:
        """Score a checkpoint on the test split.

        Args:
            model: module to score.
            dataloaders: batches to score, instead of those of the data module.
            ckpt_path: checkpoint to load; its hyperparameters override those of files and flags.
            verbose: print the metrics.
            datamodule: data module with the test split.
            weights_only: load tensors and plain types only, and run no code from a checkpoint.
            force: score rows of a dataset other than the one that the model was trained on, if none of its tables is
                larger.
        """
        ckpt_path = self._load(model, ckpt_path, force)
        return super().test(model, dataloaders, ckpt_path, verbose, datamodule, weights_only)

    @describes_arguments_by(TuningSettings, QuantizationConfig, Criterion)
    def quantize(  # noqa: D417 (the decorator describes the other options)
        self,
        model: DLRMModule,
        datamodule: QuantizationData,
        ckpt_path: str | os.PathLike[str] | None = None,
        *,
        output: str | os.PathLike[str] | None = None,
        relative: float | None = None,
        absolute: float | None = None,
        timeout_s: float | None = None,
        max_trials: int | None = None,
        strategy: str | None = None,
        objective: ObjectiveName | None = None,
        stop_at: StopAt | None = None,
        seed: int | None = None,
        lpot_conf: str | os.PathLike[str] | None = None,
        allow_nonfinite: bool = False,
        force: bool = False,
        overwrite: bool = False,
        with_vocabulary: bool = False,
        refresh: str | os.PathLike[str] | None = None,
        weights_only: bool = True,
        until: StopAt | None = None,
    ) -> Outcome:
        """Turn a trained model into a certified int8 artifact.

        The options given here override the settings of the QuantizationCallback in ``trainer.callbacks``, or its
        defaults if there is none. The best model is saved in any case. The command's exit code is 3 if that model was
        not accepted, and 4 if the test rows are too few to decide.

        Args:
            model: trained module, or one to be loaded from ``ckpt_path``.
            datamodule: data module with the rows for calibration, tuning and certification, see ``QuantizationData``.
            ckpt_path: checkpoint to load; its hyperparameters override those of files and flags.
            lpot_conf: conf.yaml of LPOT; it overrides the settings of the callback, and the other options override
                it.
            force: use a dataset other than the one that the model was trained on, if none of its tables is larger; the
                certificate records this.
            weights_only: always true; accepted so that configurations saved by `fit` can be used.
            until: earlier name of ``stop_at``.
        """
        callback = self._quantization_callback()
        config = QuantizationConfig() if callback is None else callback.config
        if lpot_conf is not None:
            config = apply_lpot_conf(
                lpot_conf,
                config,
                architecture=model.architecture,
                calibration_rows=getattr(datamodule, "calibration_rows", CALIBRATION_ROWS),
                has_logger=bool(self.loggers),
            )
        config = with_options(
            config,
            output=output,
            relative=relative,
            absolute=absolute,
            timeout_s=timeout_s,
            max_trials=max_trials,
            strategy=strategy,
            objective=objective,
            stop_at=stop_at_or_until(stop_at, until),
            seed=seed,
            allow_nonfinite=allow_nonfinite,
            overwrite=overwrite,
            with_vocabulary=with_vocabulary,
            refresh=refresh,
        )
        if left := self._load(model, ckpt_path, force, reads_all=True):
            raise ConfigurationError(f"quantize reads checkpoints from local files only. Copy {left!r} to a file.")
        listeners = [TrialScalars(self.loggers), *([] if callback is None else callback.listeners)]
        training = None
        if ckpt_path is not None:
            path = Path(self.checkpoint_file(ckpt_path)).expanduser()
            training = training_of(open_checkpoint(path), path)
        self.outcome = quantize_module(model, datamodule, config, listeners=listeners, training=training)
        return self.outcome

    def predict(  # type: ignore[override]
        self,
        model: DLRMModule | None = None,
        dataloaders: Any = None,
        datamodule: pl.LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        weights_only: bool = True,
        output: str | os.PathLike[str] | None = None,
        force: bool = False,
        overwrite: bool = False,
    ) -> Any:
        """Score rows with a checkpoint, or with an int8 artifact (`predict --artifact`).

        Args:
            model: module to score rows with.
            dataloaders: batches to score, instead of those of the data module.
            datamodule: data module with the rows: ``data.predict_split``, or ``data.predict_raw`` for a raw log.
            return_predictions: return this process's probabilities, which are kept in memory; this is the default
                without ``output``.
            ckpt_path: checkpoint to load; its hyperparameters override those of files and flags.
            weights_only: load tensors and plain types only, and run no code from a checkpoint.
            output: file for the click probabilities, one per row in order, and the columns of ``data.predict_keep``:
                .csv, .npy, .parquet, a pipe, or `-` for standard output. A single process writes them as they are
                computed; with several processes, the first one collects all of them in memory and writes them at the
                end.
            force: score rows of a dataset other than the one that the model was trained on, if none of its tables is
                larger.
            overwrite: overwrite an existing file ``output``.
        """
        path = None if output is None else output_path(output)
        keeps = bool(getattr(datamodule, "predict_keep", ()))
        if path is not None:
            check_predictions_path(path, overwrite, keeps=keeps, rows=getattr(datamodule, "predict_raw", None))
        ckpt_path = self._load(model, ckpt_path, force)
        if path is not None and self.world_size == 1:
            with predictions_file(path, datamodule.take_kept if keeps else None) as file:  # type: ignore[union-attr]
                writer = WritePredictions(file)
                self.callbacks.append(writer)  # type: ignore[attr-defined]
                try:
                    predictions = super().predict(
                        model, dataloaders, datamodule, bool(return_predictions), ckpt_path, weights_only
                    )
                finally:
                    self.callbacks.remove(writer)  # type: ignore[attr-defined]
            self.predicted_rows = file.rows
            log.info("%s: %s click probabilities", output, f"{self.predicted_rows:,}")
            return predictions
        returned = True if output is not None else return_predictions
        predictions = super().predict(model, dataloaders, datamodule, returned, ckpt_path, weights_only)
        if path is not None and predictions is not None:
            batches = in_order_of_rows(predictions)  # type: ignore[arg-type]
            if batches is not None:
                self.predicted_rows = write_predictions(path, batches)
                log.info("%s: %s click probabilities", output, f"{self.predicted_rows:,}")
        return predictions

    def checkpoint_file(self, ckpt_path: str | os.PathLike[str]) -> str:
        """Resolve Lightning's checkpoint names (best, last, hpc) to a file; return any other path unchanged.

        Raises:
            ConfigurationError: there is no such checkpoint. Lightning would train from scratch if "last" is missing.
        """
        return checkpoint_file(self, ckpt_path)

    def _quantization_callback(self) -> QuantizationCallback | None:
        """Find the last QuantizationCallback of this Trainer."""
        callbacks: list[Any] = self.callbacks  # type: ignore[attr-defined]
        quantizing = [callback for callback in callbacks if isinstance(callback, QuantizationCallback)]
        return quantizing[-1] if quantizing else None

    def _load(
        self,
        model: DLRMModule | None,
        ckpt_path: str | os.PathLike[str] | None,
        force: bool,
        *,
        reads_all: bool = False,
    ) -> str | None:
        """Load a checkpoint through a memory map, where Lightning would read it into memory and then copy it.

        Args:
            model: module to load the checkpoint into.
            ckpt_path: path of the file, or one of Lightning's names.
            force: whether to accept a checkpoint of another dataset.
            reads_all: whether all weights will be read later, and compared with their checksums.

        Returns:
            The path that is left for Lightning to load: a URL, or any checkpoint if there is no ``model``.

        Raises:
            ConfigurationError: the checkpoint does not exist.
        """
        if model is not None:
            model.allow_other_dataset = force
        if ckpt_path is None:
            return None
        ckpt_path = self.checkpoint_file(ckpt_path)
        if model is None or not is_file_name(ckpt_path):
            return ckpt_path
        unchecked = load_into(model, Path(ckpt_path).expanduser())
        log.info("%s: loaded (tables are memory-mapped)", ckpt_path)
        if unchecked and not reads_all:
            log.info(
                "%s: not compared with its checksums: %s; `inspect --full` compares everything", ckpt_path, unchecked
            )
        return None
