"""Reports of the commands with a Trainer, after they have run."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningCLI
from rich.console import Console

from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.callbacks.training_curves import curves_of
from dlrm_pl.cli.output import Report
from dlrm_pl.cli.quantized import data_of, quantized_report
from dlrm_pl.trainer import DLRMTrainer
from dlrm_pl.workflow.print_summary import print_summary


class ReportingCLI(LightningCLI):
    """LightningCLI that reports what its commands have made."""

    report: Report | None = None
    """Report of the command; set once it has run."""

    def after_fit(self) -> None:
        """Report the training run and what QuantizationCallbacks made; the log already says where the curves are."""
        trainer: Any = self.trainer
        outcomes = [callback.outcome for callback in trainer.callbacks if isinstance(callback, QuantizationCallback)]
        curves = curves_of(trainer)
        made = [outcome for outcome in outcomes if outcome is not None]
        saved = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
        data = {
            "global_step": trainer.global_step,
            "epochs": trainer.current_epoch,
            "folder": trainer.log_dir,
            "checkpoints": [path for one in saved for path in (one.best_model_path, one.last_model_path) if path],
            "metrics": trainer.callback_metrics,
            "curves": curves.picture if curves is not None else None,
            "quantized": [data_of(outcome) for outcome in made],
        }

        def show() -> None:
            for outcome in made:
                print_summary(outcome, Console(), getattr(self.model, "warned_of", ()))

        self.report = Report(data, show)

    def after_validate(self) -> None:
        """Report the metrics; Lightning has printed its table of them."""
        self.report = Report({"split": "val", "metrics": self.trainer.callback_metrics})

    def after_test(self) -> None:
        """Report the metrics; Lightning has printed its table of them."""
        self.report = Report({"split": "test", "metrics": self.trainer.callback_metrics})

    def after_predict(self) -> None:
        """Report where the probabilities are; the log already says so."""
        assert isinstance(self.trainer, DLRMTrainer)
        self.report = Report({"output": self.config.predict.output, "rows": self.trainer.predicted_rows})

    def after_quantize(self) -> None:
        """Report what was made."""
        assert isinstance(self.trainer, DLRMTrainer)
        outcome = self.trainer.outcome
        assert outcome is not None
        self.report = quantized_report(outcome)
