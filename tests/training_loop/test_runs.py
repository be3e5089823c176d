"""Runs of batches without hooks have the same results as Lightning's own loop."""

from __future__ import annotations

import csv
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, Timer, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from dlrm_pl.batch import ClickBatch
from dlrm_pl.callbacks.throughput import ThroughputMonitor
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import LookupIndexError, NonFiniteError, ShapeError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.trainer import DLRMTrainer
from dlrm_pl.training_loop.runs import RunsLoop
from tests.support.native.engines import needs_native
from tests.support.training import assert_same_weights, click_module, loader, make_batches, make_module, quiet_trainer

pytestmark = [
    needs_native,
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:The `train_dataloader` does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint"),
]


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of batches that could be trained without hooks."""
    found: list[int] = []
    train = RunsLoop._train_unseen

    def noted(self: RunsLoop, fetcher: Any, module: Any, engine: Any, batches: int) -> None:
        found.append(batches)
        train(self, fetcher, module, engine, batches)

    monkeypatch.setattr(RunsLoop, "_train_unseen", noted)
    return found


def fit(
    kind: type[pl.Trainer], folder: Path, *, module: dict[str, Any] | None = None, count: int = 40, **options: Any
) -> tuple[DLRMModule, pl.Trainer]:
    """Train with the native engine for two epochs, with validation and a log."""
    made = make_module(engine="native", **module or {})
    quiet: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    defaults: dict[str, Any] = {
        "max_epochs": 2,
        "log_every_n_steps": 10,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "logger": CSVLogger(folder, name="log", version=kind.__name__),
    }
    ckpt_path = options.pop("ckpt_path", None)
    trainer = kind(**quiet | defaults | options)
    trainer.fit(made, loader(make_batches(count)), loader(make_batches(3, seed=1)), ckpt_path=ckpt_path)
    return made, trainer


def state(trainer: pl.Trainer) -> dict[str, Any]:
    """Return a checkpoint's progress, schedule and optimizer rates."""
    saved = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    names = ("loops", "lr_schedulers", "global_step", "epoch")
    groups = [
        {name: value for name, value in group.items() if name != "params"}
        for group in saved["optimizer_states"][0]["param_groups"]
    ]
    return {name: saved[name] for name in names} | {"groups": groups}


def log_of(folder: Path, kind: type[pl.Trainer]) -> list[dict[str, str]]:
    """Return the rows of the log, except those that contain only the speed."""
    with (folder / "log" / kind.__name__ / "metrics.csv").open() as handle:
        rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(handle)]
    return [row for row in rows if "samples_per_s" not in row]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"val_check_interval": 7},
    {"val_check_interval": 13, "check_val_every_n_epoch": None},
    {"max_steps": 57},
    {"max_steps": 17, "max_epochs": -1, "accumulate_grad_batches": 3},
    {"accumulate_grad_batches": 6, "log_every_n_steps": 4},
    {"accumulate_grad_batches": 3, "log_every_n_steps": 2, "val_check_interval": 20},
    {"limit_train_batches": 33, "gradient_clip_val": 0.1},
    {"log_every_n_steps": 0, "limit_val_batches": 0},
    {"log_every_n_steps": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weights_progress_and_log_are_those_of_lightnings_loop(
    options: dict[str, Any], unseen: list[int], tmp_path: Path
) -> None:
    module = {"optimizer": "adagrad", "lr_num_warmup_steps": 20, "lr_decay_start_step": 25, "lr_num_decay_steps": 40}
    ours, trainer = fit(DLRMTrainer, tmp_path, module=module, **options)
    theirs, other = fit(pl.Trainer, tmp_path, module=module, **options)
    assert unseen
    assert_same_weights(ours, theirs)
    assert state(trainer) == state(other)
    assert trainer.logged_metrics == other.logged_metrics
    if options.get("log_every_n_steps") != 0:
        assert log_of(tmp_path, DLRMTrainer) == log_of(tmp_path, pl.Trainer)


class EachBatch(pl.Callback):
    """The user's own hooks around batches."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int, float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.calls.append(("start", batch_idx, trainer.global_step, 0.0))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.calls.append(("end", batch_idx, trainer.global_step, float(outputs["loss"])))


class EachBatchOfModule(DLRMModule):
    ends = 0

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ends += 1


def test_hooks_of_the_user_are_called_for_each_batch(unseen: list[int], tmp_path: Path) -> None:
    ours, theirs = EachBatch(), EachBatch()
    fit(DLRMTrainer, tmp_path, callbacks=[ours])
    fit(pl.Trainer, tmp_path, callbacks=[theirs])
    assert ours.calls == theirs.calls
    assert len(ours.calls) == 2 * 80
    assert not unseen


def test_hooks_of_the_users_module_are_called_for_each_batch(unseen: list[int]) -> None:
    module = EachBatchOfModule(table_sizes=[6, 5, 9], embedding_dim=4, bottom_mlp=[3, 8, 4], top_mlp=[8, 1])
    trainer = DLRMTrainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(module, loader(make_batches(30)))
    assert module.engine_name == "native"
    assert module.ends == 30
    assert not unseen


class Epochs(pl.Callback):
    """Records the hooks of epochs and validation, with the steps at which they are called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.calls.append(("train epoch start", trainer.global_step))

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.calls.append(("train epoch end", trainer.global_step))

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.calls.append(("validation start", trainer.global_step))

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.calls.append(("validation batch", trainer.global_step))

    def on_save_checkpoint(self, trainer: pl.Trainer, *_: Any) -> None:
        self.calls.append(("checkpoint", trainer.global_step))

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.calls.append(("train end", trainer.global_step))


def test_other_hooks_come_at_the_same_steps(unseen: list[int], tmp_path: Path) -> None:
    found = []
    for kind in (DLRMTrainer, pl.Trainer):
        epochs = Epochs()
        saves = ModelCheckpoint(tmp_path / kind.__name__, every_n_train_steps=9, save_top_k=-1)
        monitor = LearningRateMonitor()
        options = {"callbacks": [epochs, saves, monitor], "enable_checkpointing": True, "val_check_interval": 15}
        fit(kind, tmp_path, module={"lr_num_warmup_steps": 30}, **options)
        found.append((epochs.calls, sorted(path.name for path in (tmp_path / kind.__name__).iterdir())))
    assert found[0] == found[1]
    assert len(found[0][1]) == 8
    assert log_of(tmp_path, DLRMTrainer) == log_of(tmp_path, pl.Trainer)
    assert unseen


@pytest.mark.each_value
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 4}, {"precision": "bf16-mixed"}], ids=str)
@pytest.mark.parametrize("shuffle", ["row", "batch"])
def test_resumed_training_is_bit_equal(
    options: dict[str, Any], shuffle: str, unseen: list[int], synthetic_folder: Path, tmp_path: Path
) -> None:
    def run(steps: int, ckpt_path: Path | None = None) -> DLRMModule:
        datamodule = DLRMDataModule(str(synthetic_folder), batch_size=16, shuffle=shuffle)
        module = click_module(datamodule, optimizer="adagrad", engine="native", lr_num_warmup_steps=200)
        limits: dict[str, Any] = {"max_epochs": 3, "max_steps": steps, "limit_val_batches": 0}
        trainer = quiet_trainer(enable_checkpointing=False, **limits, **options)
        trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return module

    whole = run(110)
    run(75)  # In the second epoch.
    assert_same_weights(run(110, tmp_path / "75.ckpt"), whole)
    assert unseen


@pytest.mark.parametrize("accumulated", [1, 2])
def test_checkpoint_behind_a_run_has_counted_its_steps(accumulated: int, unseen: list[int], tmp_path: Path) -> None:
    saves = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=9, save_top_k=-1)
    options = {"callbacks": [saves], "enable_checkpointing": True, "accumulate_grad_batches": accumulated}
    fit(DLRMTrainer, tmp_path, module={"dense_optimizer": "adam"}, **options)
    paths = list((tmp_path / "saved").iterdir())
    for path in paths:
        saved = torch.load(path, weights_only=True)
        counts = {float(state["step"]) for state in saved["optimizer_states"][0]["state"].values() if "step" in state}
        assert counts == {saved["global_step"]}, path.name
    assert len(paths) >= 4
    assert unseen


@pytest.mark.parametrize(("refresh_rate", "runs"), [(1, 30), (5, 12)])
def test_time_ends_a_run_where_the_bar_is_drawn(
    refresh_rate: int, runs: int, unseen: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrm_pl.training_loop.runs._RUN_S", 0.0)
    drawn: list[int] = []
    monkeypatch.setattr("pytorch_lightning.callbacks.progress.tqdm_progress._update_n", lambda _, n: drawn.append(n))
    callbacks = [TQDMProgressBar(refresh_rate=refresh_rate), Timer(timedelta(hours=1))]
    limits: dict[str, Any] = {"log_every_n_steps": 0, "limit_val_batches": 0}
    _, trainer = fit(DLRMTrainer, tmp_path, callbacks=callbacks, enable_progress_bar=True, **limits)
    assert trainer.global_step == 80
    assert len(unseen) > runs
    assert len(drawn) > runs
    assert not [number for number in drawn if number % refresh_rate]


def spoiled(what: str) -> list[ClickBatch]:
    """Return batches of which number 27 cannot be trained on."""
    batches = make_batches(40)
    dense, indices, _, labels = batches[27]
    if what == "infinite":
        dense[3, 2] = float("inf")
    elif what == "far too large":
        dense[3, 2] = 1e9
    elif what == "no row":
        indices[1, 7] = 5
    else:
        batches[27] = ClickBatch(dense[:0], indices[:, :0], None, labels[:0])  # type: ignore[index]
    return batches


@pytest.mark.each_value
@pytest.mark.parametrize("together", [1, 5, 16])
@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("infinite", NonFiniteError, r"at step 27.*dense feature 2 of sample 3"),
        ("far too large", NonFiniteError, r"too large to recover from, at step 27"),
        ("no row", LookupIndexError, r"Sample 7 of batch 27 of epoch 0: table 1"),
        ("empty", ShapeError, r"no samples in batch 27 of epoch 0"),
    ],
)
def test_error_in_a_run_names_its_step_and_leaves_what_lightnings_loop_leaves(
    what: str, error: type[Exception], words: str, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunsLoop, "_batches_of_a_call", together)
    found = []
    for kind in (DLRMTrainer, pl.Trainer):
        module = make_module(engine="native", lr_num_warmup_steps=60)
        trainer = kind(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False)
        with pytest.raises(error, match=words):
            trainer.fit(module, loader(spoiled(what)))
        assert trainer.global_step == 27
        assert trainer.fit_loop.batch_idx == 27
        scheduler = trainer.lr_scheduler_configs[0].scheduler
        found.append((module, trainer.fit_loop.epoch_loop.batch_progress.state_dict(), scheduler.state_dict()))
    assert_same_weights(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]


class OtherSchedule(DLRMModule):
    """A schedule whose next rates are not known in advance."""

    def configure_optimizers(self) -> Any:
        found = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.StepLR(found["optimizer"], step_size=7, gamma=0.7)  # type: ignore[index]
        return {"optimizer": found["optimizer"], "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}  # type: ignore[index]


def test_schedules_of_the_user_move_with_each_step(unseen: list[int]) -> None:
    found = []
    for kind in (DLRMTrainer, pl.Trainer):
        torch.manual_seed(0)
        module = OtherSchedule(table_sizes=[6, 5, 9], embedding_dim=4, bottom_mlp=[3, 8, 4], top_mlp=[8, 1])
        trainer = kind(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False)
        trainer.fit(module, loader(make_batches(30)))
        found.append((module, state(trainer)))
    assert_same_weights(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert unseen


class Watched(pl.Callback):
    """Says when it looks, and then changes the weights of an MLP."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def steps_until_seen(self, trainer: pl.Trainer) -> float:
        return 7 - trainer.global_step % 7

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % 7 == 6:
            for parameter in pl_module.model.top_mlp.parameters():
                parameter.data.mul_(0.9)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % 7 == 0:
            self.losses.append(float(outputs["loss"]))


def test_callback_that_says_when_it_looks_sees_what_lightnings_loop_shows(unseen: list[int], tmp_path: Path) -> None:
    ours, theirs = Watched(), Watched()
    first, _ = fit(DLRMTrainer, tmp_path, callbacks=[ours])
    second, _ = fit(pl.Trainer, tmp_path, callbacks=[theirs])
    assert ours.losses == theirs.losses
    assert len(ours.losses) == 11
    assert_same_weights(first, second)
    assert max(unseen) == 6


class SwitchIntervals(pl.Callback):
    """Records Python's thread switch interval; stops with an error if told to."""

    def __init__(self, *, fails: bool) -> None:
        self.found: list[float] = []
        self._fails = fails

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found.append(sys.getswitchinterval())

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.found.append(sys.getswitchinterval())
        if self._fails:
            raise KeyError("stop")


@pytest.mark.parametrize("fails", [False, True])
def test_threads_switch_sooner_during_a_training_and_as_usual_afterwards(tmp_path: Path, *, fails: bool) -> None:
    usual, seen = sys.getswitchinterval(), SwitchIntervals(fails=fails)
    with pytest.raises(KeyError) if fails else nullcontext():
        fit(DLRMTrainer, tmp_path, count=3, callbacks=[seen])
    assert seen.found[0] == pytest.approx(0.0005)
    assert sys.getswitchinterval() == usual
    if not fails:
        assert seen.found[-1] == usual


@pytest.mark.parametrize("run_s", [0.0, 3600.0])
def test_bar_is_not_drawn_for_each_step_that_is_logged(
    run_s: float, unseen: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrm_pl.training_loop.runs._RUN_S", run_s)
    monkeypatch.setattr(RunsLoop, "_drawn_at", -run_s)
    drawn: list[int] = []
    monkeypatch.setattr("pytorch_lightning.callbacks.progress.tqdm_progress._update_n", lambda _, n: drawn.append(n))
    limits: dict[str, Any] = {"log_every_n_steps": 5, "val_check_interval": 24, "max_epochs": 1}
    callbacks = [TQDMProgressBar(refresh_rate=1), LearningRateMonitor()]  # One of these looks at every such step.
    fit(DLRMTrainer, tmp_path, callbacks=callbacks, enable_progress_bar=True, **limits)
    assert unseen
    logged = {5, 10, 15, 20, 25, 30, 35, 40}
    assert (logged <= set(drawn)) == (run_s == 0.0)
    assert {5, 24, 40} <= set(drawn)  # The first logged step, the one before a validation, and the last.
    assert (run_s == 0.0) or not (logged - {5, 40}) & set(drawn)
    rows = [row["step"] for row in log_of(tmp_path, DLRMTrainer) if "train_loss" in row]
    assert rows == ["4", "9", "14", "19", "24", "29", "34", "39"]


class Rows(Logger):
    """A user's logger that keeps its rows, and how many it had whenever it was asked to write."""

    name, version = "rows", 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, float], int | None]] = []
        self.written: list[int] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((dict(metrics), step))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def save(self) -> None:
        self.written.append(len(self.rows))


def without_speed(rows: list[tuple[dict[str, float], int | None]]) -> list[tuple[dict[str, float], int | None]]:
    return [row for row in rows if "samples_per_s" not in row[0]]


@pytest.mark.parametrize("together", [1, 5, 16])
@pytest.mark.parametrize("every", [1, 3, 10])
def test_rows_of_steps_without_hooks_are_those_of_lightnings_loop(
    every: int, together: int, unseen: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(RunsLoop, "_batches_of_a_call", together)
    monkeypatch.setattr("dlrm_pl.training_loop.runs._RUN_S", 3600.0)
    ours, theirs = Rows(), Rows()
    for kind, logger in ((DLRMTrainer, ours), (pl.Trainer, theirs)):
        monitor = [ThroughputMonitor()] if kind is pl.Trainer else []  # DLRMTrainer already has one.
        fit(kind, tmp_path, logger=logger, log_every_n_steps=every, callbacks=monitor)
    assert without_speed(ours.rows) == without_speed(theirs.rows)
    assert [(sorted(row), step) for row, step in ours.rows] == [(sorted(row), step) for row, step in theirs.rows]
    assert len(unseen) == 2  # A run to the end of each epoch, whatever is logged in it.
    assert ours.written[-1] == len(ours.rows)
    assert len(ours.written) < 20 or every == 10


def test_file_of_the_log_is_written_once_for_a_run(
    unseen: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dlrm_pl.training_loop.runs._RUN_S", 3600.0)
    written: list[int] = []
    save = ExperimentWriter.save

    def counted(self: ExperimentWriter) -> None:
        written.append(len(self.metrics))
        save(self)

    monkeypatch.setattr(ExperimentWriter, "save", counted)
    logger = CSVLogger(tmp_path, name="log", version="DLRMTrainer", flush_logs_every_n_steps=1)
    fit(DLRMTrainer, tmp_path, logger=logger, log_every_n_steps=1)
    assert len(unseen) == 2
    assert len([rows for rows in written if rows]) < 20
    assert logger.save.__func__ is CSVLogger.save  # type: ignore[attr-defined]
    assert len([row for row in log_of(tmp_path, DLRMTrainer) if "train_loss" in row]) == 80


def test_rows_before_a_failing_step_of_a_call_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunsLoop, "_batches_of_a_call", 64)
    module, logger = make_module(engine="native"), Rows()
    trainer = quiet_trainer(max_epochs=1, logger=logger, log_every_n_steps=5, enable_checkpointing=False)
    with pytest.raises(LookupIndexError):
        trainer.fit(module, loader(spoiled("no row")))
    assert [step for row, step in logger.rows if "train_loss" in row] == [4, 9, 14, 19, 24]
    assert logger.written[-1] == len(logger.rows)


class LogsMore(DLRMModule):
    """Logs something else besides the loss."""

    def log_loss(self, loss: torch.Tensor, samples: int) -> None:
        super().log_loss(loss, samples)
        self.log("twice_the_loss", 2 * loss, batch_size=samples)


class HidesLoss(DLRMModule):
    """Shows the loss in the progress bar, but does not log it."""

    def log_loss(self, loss: torch.Tensor, samples: int) -> None:
        self.log("train_loss", loss, prog_bar=True, logger=False, batch_size=samples)


@pytest.mark.parametrize("kind", [LogsMore, HidesLoss])
def test_module_that_logs_otherwise_is_asked_at_each_step_that_is_logged(
    kind: type[DLRMModule], unseen: list[int]
) -> None:
    found = []
    for trainer_kind in (DLRMTrainer, pl.Trainer):
        torch.manual_seed(0)
        module = kind(table_sizes=[6, 5, 9], embedding_dim=4, bottom_mlp=[3, 8, 4], top_mlp=[8, 1], engine="native")
        logger = Rows()
        options: dict[str, Any] = {"accelerator": "cpu", "max_epochs": 1, "enable_checkpointing": False}
        trainer = trainer_kind(logger=logger, log_every_n_steps=10, **options)
        trainer.fit(module, loader(make_batches(30)))
        found.append(without_speed(logger.rows))
    assert found[0] == found[1]
    assert unseen
    assert max(unseen) < 10
