"""DLRMTrainer: Lightning's Trainer, and what a click model needs beyond it. The docstrings are the --help text."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dlrm_pl.artifact.build import Outcome
from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.callbacks.lpot import obey_lpot_conf
from dlrm_pl.callbacks.quantization import QuantizationCallback, quantize_module
from dlrm_pl.data.datamodule import TerabyteDataModule
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.checkpoint import load_into
from dlrm_pl.model.lightning_module import DLRMModule
from dlrm_pl.quantization.objective import ObjectiveName
from dlrm_pl.quantization.settings import Until
from dlrm_pl.serving.predictor import write_predictions

log = logging.getLogger(__name__)


class DLRMTrainer(pl.Trainer):
    """Lightning's Trainer with ``quantize``, and checkpoints that are never half-written.

    Args:
        use_distributed_sampler: let Lightning replace the sampler on several ranks. Off, since the data module
            deals disjoint and complete shares itself.
        kwargs: Lightning's own arguments.
    """

    def __init__(self, *, use_distributed_sampler: bool = False, **kwargs: Any) -> None:
        super().__init__(use_distributed_sampler=use_distributed_sampler, **kwargs)
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:  # The default, not another one of the user's.
            self.strategy.checkpoint_io = AtomicCheckpointIO()
        self.outcome: Outcome | None = None

    def fit(  # type: ignore[override]
        self,
        model: DLRMModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: TerabyteDataModule | None = None,
        ckpt_path: str | None = None,
        weights_only: bool = True,
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
        """
        if ckpt_path is not None and _is_file_name(ckpt_path):
            log.info("%s", _memory_to_train(model, ckpt_path))
        super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)

    def validate(  # type: ignore[override]
        self,
        model: DLRMModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | None = None,
        verbose: bool = True,
        datamodule: TerabyteDataModule | None = None,
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
        datamodule: TerabyteDataModule | None = None,
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

    def quantize(
        self,
        model: DLRMModule,
        datamodule: TerabyteDataModule,
        ckpt_path: str | None = None,
        *,
        output: str | None = None,
        relative: float | None = None,
        absolute: float | None = None,
        timeout_s: float | None = None,
        max_trials: int | None = None,
        strategy: str | None = None,
        objective: ObjectiveName | None = None,
        until: Until | None = None,
        seed: int | None = None,
        lpot_conf: str | None = None,
        allow_nonfinite: bool = False,
        force: bool = False,
        weights_only: bool = True,
    ) -> Outcome:
        """Turn a trained model into a verified int8 artifact.

        The settings are those of the QuantizationCallback among ``trainer.callbacks``, or its defaults where there
        is none; the options here override them. Exit status 3: no model was within tolerance; the best is saved.

        Args:
            model: the module; trained, or to be loaded from ``ckpt_path``.
            datamodule: gives calibration, tuning and certification rows.
            ckpt_path: checkpoint to load; its hyperparameters win over those of files and flags.
            output: the artifact folder to write.
            relative: tolerated loss of AUROC as a share of the fp32 AUROC, for example 0.001.
            absolute: tolerated loss in units of AUROC; instead of ``relative``.
            timeout_s: 0 stops at the first recipe that is accepted.
            max_trials: at most so many recipes are tried.
            strategy: which recipe is tried next, by name.
            objective: what is made small among accepted models: ``size`` or ``latency``.
            until: ``first`` stops at the first accepted recipe; ``budget`` goes on to the end of time and trials.
            seed: of everything random.
            lpot_conf: a conf.yaml of LPOT, read as it is; it wins over the callback's settings, and the options here
                win over it.
            allow_nonfinite: read NaN and infinity in the tables as 0, instead of refusing such a model.
            force: use another dataset than the model was made for, if no table of it is larger; the certificate
                says so.
            weights_only: checkpoints are always loaded so; here for the sake of configurations that `fit` saved.
        """
        found = [callback for callback in self.callbacks if isinstance(callback, QuantizationCallback)]  # type: ignore[attr-defined]
        callback = found[-1] if found else QuantizationCallback()
        if lpot_conf is not None:
            conf = obey_lpot_conf(Path(lpot_conf), callback, datamodule, model.architecture)
            if conf.tensorboard and not self.loggers:
                log.warning("%s: tuning.tensorboard: the Trainer has no logger; give --trainer.logger", lpot_conf)
        given = {
            **{"timeout_s": timeout_s, "max_trials": max_trials, "strategy": strategy},
            **{"objective": objective, "until": until, "seed": seed},
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if relative is not None or absolute is not None:
            changes["criterion"] = dataclasses.replace(
                callback.settings.criterion, relative=relative, absolute=absolute
            )
        callback.settings = dataclasses.replace(callback.settings, **changes)
        if output is not None:
            callback.output = Path(output)
        callback.allow_nonfinite = callback.allow_nonfinite or allow_nonfinite
        self._load(model, ckpt_path, force)
        datamodule.setup("test")
        self.outcome = quantize_module(model, datamodule, callback, self.loggers)
        return self.outcome

    def predict(  # type: ignore[override]
        self,
        model: DLRMModule | None = None,
        dataloaders: Any = None,
        datamodule: TerabyteDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | None = None,
        weights_only: bool = True,
        output: str | None = None,
        force: bool = False,
    ) -> Any:
        """Score rows with a checkpoint, or with an int8 artifact (`predict --artifact`).

        Args:
            model: the module.
            dataloaders: instead of the data module's.
            datamodule: gives the rows: ``data.predict_split``, or ``data.predict_raw`` for a raw log.
            return_predictions: keep the probabilities in memory and return them; as ``output`` does.
            ckpt_path: checkpoint to load; its hyperparameters win over those of files and flags.
            weights_only: run no code that a checkpoint may hold.
            output: file to write a click probability a row to, in order: .csv or .npy.
            force: score rows of another dataset than the model was made for, if no table of it is larger.
        """
        ckpt_path = self._load(model, ckpt_path, force)
        if output is not None and self.world_size > 1:
            raise ConfigurationError(f"predict writes {output} from one process: give --trainer.devices 1.")
        predictions = super().predict(
            model, dataloaders, datamodule, return_predictions or output is not None, ckpt_path, weights_only
        )
        if output is not None and predictions is not None and self.is_global_zero:
            rows = write_predictions(Path(output), (batch.cpu().numpy() for batch in predictions))  # type: ignore[union-attr]
            log.info("%s: %s click probabilities", output, f"{rows:,}")
        return predictions

    def _load(self, model: DLRMModule | None, ckpt_path: str | None, force: bool) -> str | None:
        """Load a checkpoint through a map, where Lightning would read it into memory and then copy it.

        Returns:
            What is left to Lightning: one of its names for a checkpoint, or a URL.
        """
        if model is not None:
            model.accept_other_dataset = force
        if model is None or ckpt_path is None or not _is_file_name(ckpt_path):
            return ckpt_path
        load_into(model, Path(ckpt_path))
        log.info("%s: loaded; its tables are read where they are touched", ckpt_path)
        return None


def _is_file_name(ckpt_path: str) -> bool:
    """Whether this is neither one of Lightning's names for a checkpoint nor a URL."""
    return ckpt_path not in ("best", "last", "hpc", "registry") and ":" not in ckpt_path


def _memory_to_train(model: DLRMModule, ckpt_path: str) -> str:
    """What going on from a checkpoint will take."""
    tables = 4 * sum(model.architecture.table_sizes) * model.architecture.embedding_dim
    state = (
        f", and the state of Adagrad {tables / 2**30:.1f} GiB more" if model.hparams["optimizer"] == "adagrad" else ""
    )
    return (
        f"memory: the tables' {tables / 2**30:.1f} GiB stay in {ckpt_path}; each row that is trained takes its page of "
        f"4 KiB, so up to all of them{state}. A checkpoint of it takes as much disk"
    )
