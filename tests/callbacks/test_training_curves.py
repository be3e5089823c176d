"""Curves of trainings: long, short, resumed, interrupted or diverged, without a logger and with several."""

from __future__ import annotations

import csv
import errno
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from dlrm_pl.callbacks.training_curves import FILE_NAME, TrainingCurves, add_training_curves
from dlrm_pl.curves.training import MOST_GROUPS, TrainingRecord
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError, NonFiniteError, OutputError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.training_loop.runs import RunsLoop
from tests.support.native.engines import needs_native
from tests.support.training import click_module, loader, make_batches, make_module, make_trainer, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class EachLoss(pl.Callback):
    """Records the loss of every batch, as a user's hooks see it."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)


def fit(
    folder: Path, curves: TrainingCurves, *others: pl.Callback, ckpt_path: Path | None = None, **options: Any
) -> pl.Trainer:
    """Train on 8,000 rows, in batches of 100, with four validations."""
    data = DLRMDataModule(str(folder), batch_size=100, eval_batch_size=1000)
    model = {"lr_num_warmup_steps": 30} | options.pop("model", {})
    limits: dict[str, Any] = {"max_epochs": 1, "val_check_interval": 20, "enable_checkpointing": False}
    trainer = quiet_trainer(**limits | {"callbacks": [curves, *others]} | options)
    trainer.fit(click_module(data, **model), datamodule=data, ckpt_path=ckpt_path)
    return trainer


def drawn(curves: TrainingCurves) -> Path:
    assert curves.picture is not None
    assert curves.picture.read_bytes().startswith(b"\x89PNG")
    return curves.picture


@needs_native
def test_runs_without_hooks_record_the_loss_of_every_batch(
    synthetic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen: list[int] = []
    train = RunsLoop._train_unseen
    monkeypatch.setattr(RunsLoop, "_train_unseen", lambda self, *a: (unseen.append(a[3]), train(self, *a))[1])
    curves, each = TrainingCurves(), EachLoss()
    fit(synthetic_folder, curves, default_root_dir=tmp_path, model={"engine": "native"})
    assert sum(unseen) > 30
    fit(synthetic_folder, TrainingCurves(draw=False), each, model={"engine": "native"})
    assert [bin.mean for bin in curves.record.losses] == pytest.approx(each.losses)
    assert curves.record.losses.steps == list(range(1, 81))


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_curves_are_what_a_log_of_every_step_says(synthetic_folder: Path, tmp_path: Path, engine: str) -> None:
    curves, logger = TrainingCurves(), CSVLogger(tmp_path, name="", version="")
    fit(synthetic_folder, curves, logger=logger, log_every_n_steps=1, model={"engine": engine})
    with (tmp_path / "metrics.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    column = {name: [float(row[name]) for row in rows if row.get(name)] for name in rows[0]}
    record = curves.record
    assert [bin.mean for bin in record.losses] == pytest.approx(column["train_loss"])
    assert record.validations.steps == [20, 40, 60, 80]
    assert record.validations.column(0) == pytest.approx(column["val_auroc"])
    assert record.validations.column(1) == pytest.approx(column["val_log_loss"])
    assert (record.loss, record.rows_of_step, record.step) == ("bce", 100, 80)
    assert drawn(curves) == tmp_path / FILE_NAME


def test_learning_rates_are_those_of_the_steps(synthetic_folder: Path, tmp_path: Path) -> None:
    curves = TrainingCurves()
    fit(synthetic_folder, curves, default_root_dir=tmp_path, model={"learning_rate": 0.3})
    rates = dict(zip(curves.record.rates.steps, curves.record.rates.column(0), strict=True))
    assert set(range(1, 17)) <= set(rates)
    assert len(rates) >= 25
    # After a step the optimizer already has the rate of the next one.
    assert rates == {step: pytest.approx(min(0.3, 0.3 * (step + 1) / 30), rel=1e-6) for step in rates}


def test_accumulated_batches_belong_to_their_step(synthetic_folder: Path, tmp_path: Path) -> None:
    curves = TrainingCurves()
    fit(synthetic_folder, curves, default_root_dir=tmp_path, accumulate_grad_batches=4)
    record = curves.record
    assert (record.step, record.rows_of_step) == (20, 400)
    assert len(record.losses) == 80
    steps = record.losses.steps
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1, 20)


def test_speed_is_counted_without_validations(synthetic_folder: Path, tmp_path: Path) -> None:
    curves = TrainingCurves()
    fit(synthetic_folder, curves, default_root_dir=tmp_path)
    assert len(curves.record.speeds) >= 4
    assert all(0 < bin.low <= bin.mean <= bin.high < math.inf for bin in curves.record.speeds)


@pytest.mark.parametrize("engine", ["auto", pytest.param("torch", marks=pytest.mark.slow)])
def test_continued_training_draws_the_whole_curve(synthetic_folder: Path, tmp_path: Path, engine: str) -> None:
    whole, first, second = TrainingCurves(), TrainingCurves(), TrainingCurves()
    options: dict[str, Any] = {"model": {"engine": engine}, "default_root_dir": tmp_path}
    fit(synthetic_folder, whole, **options)
    trainer = fit(synthetic_folder, first, max_steps=33, **options)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    fit(synthetic_folder, second, ckpt_path=tmp_path / "a.ckpt", **options)
    assert second.record.losses.steps == whole.record.losses.steps == list(range(1, 81))
    # Lightning rounds the loss of a batch that it trains to float32.
    assert second.record.losses.totals == pytest.approx(whole.record.losses.totals, rel=1e-6)
    assert second.record.validations == whole.record.validations
    assert second.record.resumed == [33]
    assert {*range(1, 17), 33, 34, 80} <= set(second.record.rates.steps)
    names = {path.name for path in tmp_path.glob("training*.png")}
    assert names == {FILE_NAME, "training-2.png", "training-3.png"}


def test_checkpoints_of_model_checkpoint_have_the_record(synthetic_folder: Path, tmp_path: Path) -> None:
    curves = TrainingCurves(draw=False)
    saves = ModelCheckpoint(tmp_path, filename="{step}", monitor="val_auroc", mode="max", save_top_k=-1)
    fit(synthetic_folder, curves, saves, enable_checkpointing=True)
    saved = torch.load(tmp_path / "step=40.ckpt", weights_only=True)
    record = saved["callbacks"]["TrainingCurves"]
    assert record["step"] == 40
    assert record["validations"]["steps"] == [20, 40]
    assert record["losses"]["steps"][-1] == 40


def test_damaged_record_of_a_checkpoint_costs_the_earlier_part_alone(
    synthetic_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = TrainingCurves(draw=False), TrainingCurves(draw=False)
    trainer = fit(synthetic_folder, first, max_steps=33)
    first.record.losses.weights[0] = -1.0
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    fit(synthetic_folder, second, ckpt_path=tmp_path / "a.ckpt")
    assert "begin where training resumes" in caplog.text
    assert second.record.losses.steps == list(range(34, 81))


class Stops(pl.Callback):
    """Stops a training in the middle."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 25:
            raise self.error("enough")


@pytest.mark.parametrize(("error", "how"), [(KeyboardInterrupt, "been interrupted"), (OSError, "failed")])
def test_curves_of_a_training_that_is_ended_say_how_far_they_go(
    synthetic_folder: Path, tmp_path: Path, error: type[BaseException], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    titles: list[str] = []
    curves = TrainingCurves()
    curves._write = lambda how, write=curves._write: (titles.append(how), write(how))[1]  # type: ignore[method-assign]
    with pytest.raises((SystemExit, error)):
        fit(synthetic_folder, curves, Stops(error), default_root_dir=tmp_path)
    assert titles == [how]
    assert curves.record.step == 25
    assert f"up to step 25: {drawn(curves)}" in caplog.text


@needs_native
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_curves_end_at_a_loss_that_is_not_finite(tmp_path: Path, engine: str, caplog: pytest.LogCaptureFixture) -> None:
    batches = make_batches(40)
    batches[27].dense[3, 2] = math.inf
    curves = TrainingCurves()
    trainer = quiet_trainer(callbacks=[curves], default_root_dir=tmp_path, enable_checkpointing=False, max_epochs=1)
    with pytest.raises(NonFiniteError):
        trainer.fit(make_module(engine=engine), loader(batches))
    assert curves.record.bad_step == 28
    assert len(curves.record.losses) == 27
    assert all(math.isfinite(bin.mean) for bin in curves.record.losses)
    assert "up to step 27" in caplog.text
    drawn(curves)


class UsersModule(DLRMModule):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self._loss_of(batch) * 1.0


@pytest.mark.parametrize("accumulated", [1, 2])
def test_other_modules_and_a_plain_trainer_are_recorded(tmp_path: Path, accumulated: int) -> None:
    module = UsersModule(table_sizes=[6, 5, 9], embedding_dim=4, bottom_mlp=[3, 8, 4], top_mlp=[8, 1])
    curves, each = TrainingCurves(tmp_path / "own.png"), EachLoss()
    trainer = make_trainer(callbacks=[curves, each], accumulate_grad_batches=accumulated)
    trainer.fit(module, loader(make_batches(20)), loader(make_batches(3)))
    assert [bin.mean for bin in curves.record.losses] == pytest.approx(each.losses)
    assert len(curves.record.validations) == 1
    assert drawn(curves) == tmp_path / "own.png"


def test_very_few_steps_are_drawn(synthetic_folder: Path, tmp_path: Path) -> None:
    curves = TrainingCurves()
    fit(synthetic_folder, curves, default_root_dir=tmp_path, max_steps=1)
    assert (len(curves.record.losses), len(curves.record.rates), len(curves.record.speeds)) == (1, 1, 1)
    drawn(curves)


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"max_steps": 0}], ids=str)
def test_nothing_is_drawn_where_nothing_was_trained(
    synthetic_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    curves = TrainingCurves()
    fit(synthetic_folder, curves, default_root_dir=tmp_path, **options)
    assert curves.picture is None
    assert not list(tmp_path.glob("**/*.png"))


def test_two_trainings_of_one_trainer_are_one_curve(synthetic_folder: Path, tmp_path: Path) -> None:
    curves = TrainingCurves()
    trainer = fit(synthetic_folder, curves, default_root_dir=tmp_path, max_steps=30, max_epochs=2)
    first = drawn(curves)
    trainer.fit_loop.epoch_loop.max_steps = 50
    trainer.fit(trainer.lightning_module, datamodule=trainer.datamodule)
    assert curves.record.step == 50
    assert curves.record.resumed == [30]
    assert drawn(curves) == first


def test_path_is_checked_before_the_training(synthetic_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"curves\.pdf.*must end in \.png"):
        TrainingCurves("curves.pdf")
    (tmp_path / "curves.png").write_text("mine")
    curves = TrainingCurves(tmp_path / "curves.png")
    with pytest.raises(OutputError, match="already exists"):
        fit(synthetic_folder, curves)
    assert (tmp_path / "curves.png").read_text() == "mine"
    data = DLRMDataModule(str(synthetic_folder), batch_size=100, eval_batch_size=1000)
    trainer = quiet_trainer(callbacks=[curves], max_steps=3, enable_checkpointing=False)
    trainer.fit(click_module(data), datamodule=data, overwrite=True)
    drawn(curves)


def test_a_picture_that_cannot_be_written_does_not_end_the_training(
    synthetic_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dlrm_pl.pages.figures.raster.write_png", write)
    curves = TrainingCurves(tmp_path / "curves.png")
    trainer = fit(synthetic_folder, curves, max_steps=3)
    assert trainer.global_step == 3
    assert "could not be drawn" in caplog.text


def test_path_of_the_picture_is_logged(
    synthetic_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dlrm_pl.callbacks.training_curves")
    curves = TrainingCurves()
    fit(synthetic_folder, curves, default_root_dir=tmp_path, max_steps=3)
    assert f"training curves: {tmp_path / FILE_NAME}" in caplog.messages


class ManyGroups(pl.LightningModule):
    """A user's module whose optimizer has a parameter group for each of many parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterList(torch.ones(1) for _ in range(300))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return torch.stack([weight * batch.mean() for weight in self.weights]).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": [weight], "lr": 0.1} for weight in self.weights])


def test_record_of_very_many_groups_can_be_read_again(tmp_path: Path) -> None:
    curves = TrainingCurves(tmp_path / "curves.png")
    trainer = quiet_trainer(callbacks=[curves], max_epochs=1, enable_checkpointing=False)
    trainer.fit(ManyGroups(), torch.utils.data.DataLoader([torch.ones(1)] * 4))
    again = TrainingRecord.of_dict(curves.state_dict(), "here")
    assert again.groups[:2] == ["group 1", "group 2"]
    assert len(again.groups) == len(again.rates.rows[0]) == MOST_GROUPS


def test_curves_callback_of_the_user_is_not_duplicated() -> None:
    trainer = quiet_trainer(callbacks=[TrainingCurves("a.png")])
    add_training_curves(trainer)
    assert sum(isinstance(one, TrainingCurves) for one in trainer.callbacks) == 1
    other = quiet_trainer(callbacks=[])
    add_training_curves(other)
    assert repr(other.callbacks[0]) == "TrainingCurves(None, draw=True)"
