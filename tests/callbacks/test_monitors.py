"""The metrics that callbacks monitor are checked before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint

from dlrm_pl.callbacks.monitors import check_monitors
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.scored_module import METRICS
from tests.support.training import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def module(*sizes: int, kind: type[DLRMModule] = DLRMModule, **options: Any) -> DLRMModule:
    torch.manual_seed(0)
    return kind(list(sizes or (3,)), embedding_dim=2, bottom_mlp=(13, 2), top_mlp=(1,), **options)


def check(*callbacks: Callback, kind: type[DLRMModule] = DLRMModule, validates: bool = True) -> None:
    check_monitors(module(kind=kind), callbacks, validates=validates)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (EarlyStopping("val_auc", mode="max"), r"EarlyStopping: monitor='val_auc': .*Did you mean 'val_auroc'\?"),
        (ModelCheckpoint(monitor="test_auroc", mode="max"), r"monitor='test_auroc': .*Training logs train_loss, val_"),
        (EarlyStopping("val_auroc"), "'val_auroc' with mode='min': this mode would stop as soon .* Set mode: max"),
        (
            ModelCheckpoint(monitor="val_auroc"),
            "'val_auroc' with mode='min': this mode keeps the worst model. Set mode: max",
        ),
        (ModelCheckpoint(monitor="val_log_loss", mode="max"), "this mode keeps the worst model. Set mode: min"),
        (ModelCheckpoint(filename="{epoch}-{val_auc:.3f}"), r"filename='{epoch}-{val_auc:.3f}': unknown metric"),
        (EarlyStopping("lr-SGD"), "monitor='lr-SGD': unknown metric"),
    ],
)
def test_missing_metric_and_wrong_direction_are_refused(callback: Callback, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check(callback)


def test_without_validation_there_are_no_val_metrics() -> None:
    check(EarlyStopping("train_loss"), validates=False)
    with pytest.raises(ConfigurationError, match=r"Training logs train_loss\. Validation is off"):
        check(EarlyStopping("val_auroc", mode="max"), validates=False)


class LogsMore(DLRMModule):
    """A user's module that logs additional metrics."""


def test_what_is_right_or_not_known_here_passes() -> None:
    name = "{epoch}-{step}-{val_auroc:.4f}-{train_loss:.3f}"
    check(ModelCheckpoint(filename=name, monitor="val_auroc", mode="max"), ModelCheckpoint())
    check(EarlyStopping("val_calibration_ratio", mode="max"), EarlyStopping("val_auc", strict=False))
    check(EarlyStopping("lr-SGD"), LearningRateMonitor())
    check(EarlyStopping("val_mine"), kind=LogsMore)
    check(EarlyStopping("val_mine"), OfTheUser())


class OfTheUser(Callback):
    """A user's callback that may log metrics."""


def test_known_metrics_are_those_that_are_logged(synthetic_folder: Path) -> None:
    data = DLRMDataModule(str(synthetic_folder), batch_size=2000)
    trainer = quiet_trainer(enable_checkpointing=False, max_epochs=1, max_steps=-1)
    trainer.fit(module(*data.table_sizes), datamodule=data)
    assert set(trainer.callback_metrics) == {"train_loss", *(f"val_{name}" for name in METRICS)}


def test_fit_looks_before_it_trains(synthetic_folder: Path) -> None:
    data = DLRMDataModule(str(synthetic_folder), batch_size=500)
    trainer = quiet_trainer(enable_checkpointing=False, max_steps=2, callbacks=[EarlyStopping("val_auc")])
    with pytest.raises(ConfigurationError, match="Did you mean 'val_auroc'"):
        trainer.fit(module(*data.table_sizes), datamodule=data)
    assert trainer.global_step == 0


@pytest.mark.parametrize("threshold", [0.6, 0.99])
def test_the_stop_of_the_guide_is_at_the_threshold_and_not_before(synthetic_folder: Path, threshold: float) -> None:
    line = next(
        line
        for line in (ROOT / "docs" / "guides" / "from_dlrm.md").read_text().splitlines()
        if "`EarlyStopping` with" in line
    )
    written = dict(part.split(": ") for part in line.replace("`", "").split("with ")[1].strip(" |").split(", "))
    assert written.pop("stopping_threshold") == "0.8025"
    stop = EarlyStopping(
        written.pop("monitor"), mode=written.pop("mode"), patience=int(written.pop("patience")),
        stopping_threshold=threshold,
    )  # fmt: skip
    assert written == {}
    data = DLRMDataModule(str(synthetic_folder), batch_size=128)
    seen = Seen()
    trainer = quiet_trainer(
        enable_checkpointing=False, callbacks=[stop, seen], max_epochs=1, max_steps=-1, val_check_interval=10
    )
    trainer.fit(module(*data.table_sizes, learning_rate=0.5), datamodule=data)
    assert len(seen.aurocs) > 2
    assert all(auroc <= threshold for auroc in seen.aurocs[:-1])
    if threshold == 0.6:
        assert seen.aurocs[-1] > threshold
        assert trainer.global_step == 10 * len(seen.aurocs)
    else:
        assert trainer.global_step == 63


class Seen(Callback):
    """Records the AUROC of each validation."""

    def __init__(self) -> None:
        self.aurocs: list[float] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.aurocs.append(float(trainer.callback_metrics["val_auroc"]))


ROOT = Path(__file__).parents[2]
