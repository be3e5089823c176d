"""A training resumes from a checkpoint as if it had never been interrupted, or says why it cannot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler, ModelCheckpoint

from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.inspection import describe
from dlrm_pl.model.load import read_checkpoint
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.optimizers.schedule import WarmupDecay
from dlrm_pl.model.training.resuming.run_record import KEY, Override, RunRecord
from tests.support.native.engines import needs_native
from tests.support.training import assert_same_weights, click_module, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Losses(pl.Callback):
    """Records the loss of each batch, by the numbers of epoch and batch."""

    def __init__(self) -> None:
        self.of: dict[tuple[int, int], float] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.of[trainer.current_epoch, batch_idx] = float(trainer.callback_metrics["train_loss"])


class Rates(pl.Callback):
    """Records the learning rate of each optimizer step, by its number from 1."""

    def __init__(self) -> None:
        self.of: dict[int, float] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.of[trainer.global_step + 1] = trainer.optimizers[0].param_groups[0]["lr"]


class SaveAfter(pl.Callback):
    """Saves a checkpoint after a batch, as ModelCheckpoint does."""

    def __init__(self, path: Path, batch: int) -> None:
        self.path, self.batch = path, batch

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch and trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)


def fit(
    folder: Path, *callbacks: pl.Callback, ckpt_path: Path | None = None, override: bool = False, **options: Any
) -> tuple[DLRMModule, dict[tuple[int, int], float]]:
    """Train two epochs of eight batches."""
    data = {"batch_size": 128, "shuffle": "row"} | options.pop("data", {})
    datamodule = DLRMDataModule(str(folder), **data)
    chosen = {"optimizer": "adagrad", "learning_rate": 0.3} | options.pop("model", {})
    module, losses = click_module(datamodule, **chosen), Losses()
    limits: dict[str, Any] = {"max_epochs": 2, "limit_train_batches": 8, "limit_val_batches": 0}
    trainer = quiet_trainer(**limits | {"callbacks": [losses, *callbacks], "enable_checkpointing": False} | options)
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path, override=override)
    trainer.strategy.checkpoint_io.teardown()
    return module, losses.of


@needs_native
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_cross_layers_go_on_with_the_same_bits(synthetic_folder: Path, tmp_path: Path, precision: str) -> None:
    options: dict[str, Any] = {
        "model": {"interaction": "dcn", "cross_layers": 2, "cross_rank": 7, "engine": "native"},
        "precision": precision,
    }
    whole, losses = fit(synthetic_folder, SaveAfter(tmp_path / "a.ckpt", 2), **options)
    resumed, later = fit(synthetic_folder, ckpt_path=tmp_path / "a.ckpt", **options)
    assert_same_weights(resumed, whole)
    assert later == {place: loss for place, loss in losses.items() if place >= (1, 3)}


@pytest.mark.each_value
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("batch", range(2, 8))
def test_checkpoint_between_the_batches_of_a_step_goes_on_from_the_step_before(
    synthetic_folder: Path, tmp_path: Path, batch: int, asynchronous: bool
) -> None:
    path, options = tmp_path / "a.ckpt", {"accumulate_grad_batches": 3, "async_checkpoints": asynchronous}
    whole, losses = fit(synthetic_folder, SaveAfter(path, batch), **options)
    trained = 8 if batch == 7 else (batch + 1) // 3 * 3
    resumed, later = fit(synthetic_folder, ckpt_path=path, **options)
    assert min(later, default=(2, 0)) == ((1, trained) if trained < 8 else (2, 0))
    assert later == {at: loss for at, loss in losses.items() if at >= (1, trained)}
    assert_same_weights(whole, resumed)


@pytest.fixture(scope="module")
def saved(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "a.ckpt"
    fit(synthetic_folder, SaveAfter(path, 3))
    return path


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": {"batch_size": 64}}, "data.batch_size is 64, but 128 in the checkpoint. Some rows would be trained"),
        ({"data": {"shuffle": "batch"}}, "data.shuffle is batch, but row in the checkpoint"),
        ({"data": {"seed": 7}}, "data.seed is 7, but 0 in the checkpoint"),
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches is 2, but 1 in the checkpoint. The steps"),
        ({"precision": "bf16-mixed"}, "trainer.precision is bf16-mixed, but 32-true in the checkpoint"),
        ({"gradient_clip_val": 0.5}, "trainer.gradient_clip_val is 0.5, but not set in the checkpoint; trainer.gra"),
        ({"data": {"batch_size": 64, "seed": 7}}, "data.batch_size is 64, but 128 in the checkpoint; data.seed is 7"),
    ],
)
def test_other_settings_are_refused(synthetic_folder: Path, saved: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        fit(synthetic_folder, ckpt_path=saved, **changed)
    assert "or --override to continue" in str(caught.value)


def test_what_was_overridden_is_in_all_later_checkpoints(synthetic_folder: Path, saved: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "b.ckpt", tmp_path / "c.ckpt"
    wider = {"batch_size": 100}
    fit(synthetic_folder, SaveAfter(first, 5), ckpt_path=saved, override=True, data=wider)
    fit(synthetic_folder, SaveAfter(second, 6), ckpt_path=first, data=wider)
    for path in (first, second):
        record = RunRecord.read(read_checkpoint(path))
        assert record.overridden == (Override(12, ["data.batch_size is 100, but 128 in the checkpoint"]),)
        assert record.settings["data.batch_size"] == 100
        assert re.search(r"overridden +at step 12: data\.batch_size is 100, but 128", describe(path))


def test_checkpoint_of_an_earlier_version_goes_on_with_any_settings(synthetic_folder: Path, saved: Path) -> None:
    before = torch.load(saved, weights_only=True)
    assert before.pop(KEY)["settings"]["trainer.devices"] == 1
    torch.save(before, saved.parent / "old.ckpt")
    fit(synthetic_folder, ckpt_path=saved.parent / "old.ckpt", data={"batch_size": 100})


@pytest.mark.parametrize(
    ("batch_size", "words"),
    [
        (64, None),
        (
            128,
            "trainer.devices is 2, but 1 in the checkpoint. The steps would differ from those of an uninterrupted "
            "run. With data.batch_size=64, a step would have 128 rows, as in the checkpoint.",
        ),
    ],
)
def test_another_number_of_processes_goes_on_with_as_many_rows_in_a_step(batch_size: int, words: str | None) -> None:
    before = {"data.batch_size": 128, "trainer.devices": 1, "model.engine": "native", "data.seed": 3}
    now = before | {"data.batch_size": batch_size, "trainer.devices": 2}
    if words is None:
        record = RunRecord(before).resumed(now | {"model.engine": "torch"}, step=5, override=False)
        assert record == RunRecord(now | {"model.engine": "torch"})
        with pytest.raises(ConfigurationError, match=r"settings: data\.seed is 4, but 3 in the checkpoint\. Some"):
            RunRecord(before).resumed(now | {"data.seed": 4}, step=5, override=False)
    else:
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            RunRecord(before).resumed(now, step=5, override=False)


def test_other_rows_are_refused_in_words_that_also_suit_the_next_day() -> None:
    before = {"data.train_rows": 800, "data.train_checksum": "ab", "data.seed": 3}
    now = before | {"data.train_rows": 900, "data.train_checksum": "cd"}
    with pytest.raises(ConfigurationError) as caught:
        RunRecord(before).resumed(now, step=5, override=False)
    assert "These training rows are not the ones that the checkpoint was trained on." in str(caught.value)
    assert "--override to continue with these anyway, as when a trained model learns the next" in str(caught.value)
    assert "twice" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        RunRecord(before).resumed(before | {"data.seed": 4}, step=5, override=False)
    assert "next day" not in str(caught.value)


def test_damaged_record_is_refused() -> None:
    with pytest.raises(CheckpointError, match=rf"the entry '{KEY}': settings: 3 must be"):
        RunRecord.read({KEY: {"settings": 3}})


def test_tables_that_were_imported_with_bad_values_are_remembered() -> None:
    imported = {"reference": {"nonfinite_rows": {"emb_l.1.weight": 4}}}
    record = RunRecord.read(imported)
    assert record.nonfinite_tables == ("model.embedding_bags.tables.1.weight",)
    checkpoint: dict[str, Any] = {}
    record.write(checkpoint)
    assert RunRecord.read(checkpoint) == record


def test_another_engine_is_refused(synthetic_folder: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DLRMModule, "engine_name", "torch", raising=False)
    first = saved.parent / "torch.ckpt"
    fit(synthetic_folder, SaveAfter(first, 3))
    fit(synthetic_folder, ckpt_path=first)
    monkeypatch.setattr(DLRMModule, "engine_name", "native", raising=False)
    with pytest.raises(ConfigurationError, match=r"model\.engine is native, but torch in the checkpoint\. Rounding"):
        fit(synthetic_folder, ckpt_path=first)
    fit(synthetic_folder, ckpt_path=first, override=True)


def test_other_hyperparameters_are_refused(synthetic_folder: Path, saved: Path) -> None:
    words = (
        r"different settings: model\.learning_rate is 0\.1, but 0\.3 in the checkpoint; "
        r"model\.lr_num_warmup_steps is 6, but 0 in the checkpoint\. The steps would differ"
    )
    with pytest.raises(ConfigurationError, match=words):
        fit(synthetic_folder, ckpt_path=saved, model={"learning_rate": 0.1, "lr_num_warmup_steps": 6})


def test_overridden_learning_rate_is_that_of_the_next_step(synthetic_folder: Path, saved: Path, tmp_path: Path) -> None:
    rates = Rates()
    options: dict[str, Any] = {"learning_rate": 0.1, "lr_decay_start_step": 13, "lr_num_decay_steps": 100}
    path = tmp_path / "b.ckpt"
    fit(synthetic_folder, rates, SaveAfter(path, 5), ckpt_path=saved, override=True, model=options)
    expected = WarmupDecay(base=0.1, decay_start_step=13, decay_steps=100)
    assert rates.of == {step: pytest.approx(expected.rate(step), rel=1e-12) for step in (13, 14, 15, 16)}
    checkpoint = read_checkpoint(path)
    assert checkpoint["hyper_parameters"]["learning_rate"] == 0.1
    (overridden,) = RunRecord.read(checkpoint).overridden
    assert overridden.changes[0] == "model.learning_rate is 0.1, but 0.3 in the checkpoint"
    again = Rates()
    fit(synthetic_folder, again, ckpt_path=path, model=options)
    assert again.of == {step: rates.of[step] for step in (15, 16)}


def test_optimizer_cannot_be_overridden(synthetic_folder: Path, saved: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--override cannot change the optimizer: model\.optimizer is sgd"):
        fit(synthetic_folder, ckpt_path=saved, override=True, model={"optimizer": "sgd"})


@pytest.mark.parametrize("step", [5, 9, 11])
def test_accumulation_that_depends_on_the_epoch_goes_on(synthetic_folder: Path, tmp_path: Path, step: int) -> None:
    def fitted(ckpt_path: Path | None = None) -> DLRMModule:
        data = DLRMDataModule(str(synthetic_folder), batch_size=500)
        saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1, enable_version_counter=False)
        trainer = quiet_trainer(
            max_epochs=3,
            limit_train_batches=8,
            limit_val_batches=0,
            callbacks=[GradientAccumulationScheduler({1: 3}), saving],
        )
        trainer.fit(module := click_module(data), datamodule=data, ckpt_path=ckpt_path, overwrite=True)
        assert trainer.global_step == 8 + 3 + 3
        return module

    assert_same_weights(fitted(), fitted(tmp_path / f"step={step}.ckpt"))
