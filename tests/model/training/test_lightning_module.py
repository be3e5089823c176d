"""DLRMModule with a real Trainer on tiny batches in memory."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, GradientAccumulationScheduler

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError, DatasetError, MetricError, NonFiniteError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.weight_init import skip_weight_init
from tests.reference import dlrm as reference
from tests.support.tiny import as_multi_hot
from tests.support.training import (
    SIZES,
    SMALL,
    FakeData,
    assert_same_weights,
    loader,
    make_batches,
    make_module,
    make_trainer,
)

# Lightning warns that these runs have no validation, which is intended.
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


class Rates(pl.Callback):
    """Records the learning rates of each step and the losses of each batch."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._before = (0, 0.0)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._before = (trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *args: Any) -> None:
        if trainer.global_step > self._before[0]:
            self.rates.append(self._before[1])
        self.losses.append(outputs["loss"].item())


def fitted(batches: list[ClickBatch], *, max_epochs: int = 1, **changes: Any) -> tuple[DLRMModule, Rates]:
    module, rates = make_module(**changes), Rates()
    make_trainer(max_epochs=max_epochs, callbacks=[rates]).fit(module, loader(batches))
    return module, rates


@pytest.mark.parametrize(("steps", "told"), [(50, False), (60, True)])
def test_a_run_that_outlasts_the_decay_of_its_rate_says_so(
    caplog: pytest.LogCaptureFixture, steps: int, told: bool
) -> None:
    fitted(make_batches(steps), lr_decay_start_step=10, lr_num_decay_steps=40)
    assert (
        "decay of the learning rate ends at step 50, but training runs from step 0 to step 60" in caplog.text
    ) == told


def test_a_run_of_growing_accumulation_is_not_said_to_outlast_its_decay(caplog: pytest.LogCaptureFixture) -> None:
    """It takes 40 + 10 steps, and Lightning counts 80, by the first epoch's accumulation."""
    module = make_module(lr_decay_start_step=10, lr_num_decay_steps=40)
    trainer = make_trainer(max_epochs=2, callbacks=[GradientAccumulationScheduler({0: 1, 1: 4})])
    trainer.fit(module, loader(make_batches(40)))
    assert trainer.global_step == 50
    assert "decay of the learning rate" not in caplog.text


def test_state_dict_holds_the_model_and_nothing_else() -> None:
    names = set(make_module().state_dict())
    assert names == {f"model.{name}" for name in make_module().model.state_dict()}


@pytest.mark.untraced
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_a_separable_set_is_learned(optimizer: str) -> None:
    module = make_module(optimizer=optimizer)
    trainer = make_trainer(max_epochs=4)
    trainer.fit(module, loader(make_batches(100, b=64)))
    (metrics,) = trainer.validate(module, loader(make_batches(4, b=256, seed=1)), verbose=False)
    assert metrics["val_auroc"] > 0.9


def test_logged_metrics_equal_plain_formulas() -> None:
    module, trainer = make_module(), make_trainer()
    batches = make_batches(3, b=20)
    (metrics,) = trainer.test(module, loader(batches), verbose=False)
    p = torch.cat([torch.sigmoid(module(batch)) for batch in batches]).detach().double().numpy()
    y = torch.cat([batch.labels for batch in batches]).numpy()
    wins = np.mean([(a > b) + 0.5 * (a == b) for a in p[y == 1] for b in p[y == 0]])
    log_loss = -np.mean(np.where(y == 1, np.log(p), np.log(1 - p)))
    rate = y.mean()
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert set(metrics) == {"test_auroc", "test_log_loss", "test_normalized_entropy", "test_calibration_ratio"}
    assert metrics["test_auroc"] == pytest.approx(wins, rel=1e-12)
    assert metrics["test_log_loss"] == pytest.approx(log_loss, rel=1e-6)
    assert metrics["test_normalized_entropy"] == pytest.approx(log_loss / entropy, rel=1e-6)
    assert metrics["test_calibration_ratio"] == pytest.approx(p.sum() / y.sum(), rel=1e-6)


def test_each_validation_counts_its_own_rows() -> None:
    module, trainer = make_module(), make_trainer()
    first = trainer.validate(module, loader(make_batches(3, seed=1)), verbose=False)
    trainer.validate(module, loader(make_batches(3, seed=2)), verbose=False)
    assert trainer.validate(module, loader(make_batches(3, seed=1)), verbose=False) == first


def test_at_most_three_numbers_are_on_the_progress_bar() -> None:
    trainer = make_trainer()
    trainer.fit(make_module(), loader(make_batches(2)), loader(make_batches(2)))
    assert set(trainer.progress_bar_metrics) == {"train_loss", "val_auroc"}  # A logger adds v_num.


def test_a_sanity_check_without_clicks_is_no_error() -> None:
    """It reads a batch or two; at 3 % clicks they may contain none, and its rows must not count later."""
    no_clicks = [batch._replace(labels=torch.zeros_like(batch.labels)) for batch in make_batches(2)]
    module = make_module()
    trainer = make_trainer(num_sanity_val_steps=2)
    trainer.fit(module, loader(make_batches(2)), loader(no_clicks + make_batches(2, seed=1)))
    assert len(module.auroc.positives) == 0
    (again,) = make_trainer().validate(module, loader(no_clicks + make_batches(2, seed=1)), verbose=False)
    assert trainer.callback_metrics["val_auroc"].item() == again["val_auroc"]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "calibration ratio of the model" in record.getMessage()]


def off_the_mark() -> DLRMModule:
    """Predicts a click for every row."""
    module = make_module(learning_rate=1e-6)
    with torch.no_grad():
        module.model.top_mlp[-1].bias += 20  # type: ignore[operator]
    return module


def test_model_without_skill_is_warned_of_once_at_the_end_of_a_fit(caplog: pytest.LogCaptureFixture) -> None:
    trainer = make_trainer(max_epochs=3, num_sanity_val_steps=2)
    module = off_the_mark()
    with caplog.at_level(logging.WARNING):
        trainer.fit(module, loader(make_batches(2)), loader(make_batches(3, b=64, seed=1)))
    (text,) = warned(caplog)
    assert "on 192 rows of val with" in text
    assert "calibration_ratio" in module.warned_of


@pytest.mark.parametrize(("stage", "split"), [("validate", "val"), ("test", "test")])
def test_model_without_skill_is_warned_of_when_it_is_scored(
    stage: str, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        getattr(make_trainer(), stage)(off_the_mark(), loader(make_batches(2)), verbose=False)
        make_trainer().predict(off_the_mark(), loader(make_batches(2)))
    (text,) = warned(caplog)
    assert f"rows of {split} with" in text


def test_fit_without_validation_does_not_warn_about_skill(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make_trainer().fit(off_the_mark(), loader(make_batches(2)))
    assert warned(caplog) == []


def test_a_split_of_one_class_is_an_error() -> None:
    no_clicks = [batch._replace(labels=torch.zeros_like(batch.labels)) for batch in make_batches(2)]
    with pytest.raises(MetricError, match="0 clicks among 32 rows"):
        make_trainer().validate(make_module(), loader(no_clicks), verbose=False)


def test_predictions_are_probabilities_in_order() -> None:
    module, batches = make_module(), make_batches(2)
    found = make_trainer().predict(module, loader(batches))
    assert found is not None
    for batch, probabilities in zip(batches, found, strict=True):
        torch.testing.assert_close(probabilities, torch.sigmoid(module(batch)))  # type: ignore[arg-type]


def test_multi_hot_batches_train() -> None:
    b = 8
    batch = make_batches(1, b=b)[0]
    bags = batch._replace(indices=batch.indices.flatten(), offsets=torch.arange(len(SIZES) * b + 1))
    assert_same_weights(fitted([batch] * 3)[0], fitted([bags] * 3)[0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training(value: float) -> None:
    batches = make_batches(4)
    batches[2].dense[0, 0] = value
    message = r"The loss is (NaN|infinite) at step 2, with a learning rate of 0\.1: dense feature 0 of sample 0 of the"
    with pytest.raises(NonFiniteError, match=message):
        fitted(batches, lr_num_warmup_steps=6)


def test_rates_follow_the_references_schedule_by_optimizer_step() -> None:
    _, seen = fitted(make_batches(14), lr_num_warmup_steps=4, lr_decay_start_step=7, lr_num_decay_steps=5)
    stateful = reference.StatefulSchedule(0.2, 4, 7, 5)
    assert seen.rates == pytest.approx([stateful.step() for _ in range(14)], rel=1e-12)


def test_the_schedule_counts_optimizer_steps_under_accumulation() -> None:
    module, rates = make_module(lr_num_warmup_steps=5), Rates()
    make_trainer(accumulate_grad_batches=2, callbacks=[rates]).fit(module, loader(make_batches(6)))
    assert rates.rates == pytest.approx([0.04, 0.08, 0.12])


CHANGES: dict[str, Any] = {
    "interaction": "cat",
    "self_interaction": True,
    "loss": "mse",
    "loss_threshold": 0.49,
    "optimizer": "adagrad",
    "learning_rate": 0.3,
    "dense_optimizer": "adam",
    "dense_learning_rate": 0.3,
    "lr_num_warmup_steps": 3,
    "lr_num_decay_steps": 3,
    "table_format": "split",
    "top_mlp": [9, 1],
    "bottom_mlp": [3, 4],
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_hyperparameter_changes_training(name: str) -> None:
    batches = make_batches(4)
    assert fitted(batches, **{name: CHANGES[name]})[1].losses != fitted(batches)[1].losses


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({"loss": "wbce"}, {"loss_weights": [1.0, 3.0]}),
        ({"loss": "wbce"}, {"loss_weights": [3.0, 1.0]}),
        ({"lr_num_decay_steps": 3}, {"lr_decay_start_step": 2}),
        ({"lr_num_decay_steps": 3}, {"lr_schedule": "cosine"}),
        ({"lr_num_decay_steps": 3, "lr_schedule": "polynomial"}, {"lr_decay_power": 1.0}),
        ({"lr_num_decay_steps": 3, "lr_schedule": "polynomial"}, {"lr_end_factor": 0.5}),
        ({"optimizer": "adagrad"}, {"optimizer": "rwsadagrad"}),
        ({"optimizer": "adagrad"}, {"epsilon": 0.1}),
        ({"optimizer": "rwsadagrad"}, {"epsilon": 0.1}),
        ({"optimizer": "rwsadagrad"}, {"dense_epsilon": 0.1}),
        ({"dense_optimizer": "adam"}, {"dense_optimizer": "lamb"}),
        ({"dense_optimizer": "adam"}, {"dense_betas": (0.5, 0.999)}),
        ({"dense_optimizer": "lamb"}, {"dense_betas": (0.9, 0.5)}),
        ({"dense_optimizer": "lamb"}, {"dense_weight_decay": 0.1}),
        ({"dense_optimizer": "adam"}, {"dense_weight_decay": 0.1}),
        ({"embedding_dim": 4}, {"embedding_dim": 5, "bottom_mlp": [3, 8, 5]}),
        ({"table_sizes": SIZES}, {"table_sizes": [6, 5, 10]}),
    ],
)
def test_hyperparameters_that_need_another_change_training_too(base: dict[str, Any], change: dict[str, Any]) -> None:
    batches = make_batches(4)
    assert fitted(batches, **base)[1].losses != fitted(batches, **(base | change))[1].losses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "hinge"}, "loss='hinge' must be"),
        ({"optimizer": "ftrl"}, "optimizer='ftrl' must be"),
        ({"optimizer": "adam"}, "optimizer='adam' is for the MLPs "),
        ({"loss_weights": [1.0]}, r"loss_weights=\[1.0\] must be two non-negative numbers"),
        ({"loss_weights": [1.0, -1.0]}, r"loss_weights=\[1.0, -1.0\]"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"embedding_dim": 5}, "embedding_dim=5"),
    ],
)
def test_impossible_hyperparameters_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_module(**changes)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_training_in_half_precision_all_through_is_refused(precision: str) -> None:
    trainer = make_trainer(precision=precision)
    with pytest.raises(ConfigurationError, match=f"trainer.precision={precision} would keep the tables.*bf16-mixed"):
        trainer.fit(make_module(), loader(make_batches(1)))
    trainer.predict(make_module(), loader(make_batches(1)))  # It loses no steps.


def test_training_stops_once_auroc_is_above_the_threshold() -> None:
    """The reference's --mlperf-auc-threshold becomes Lightning's EarlyStopping in YAML: strictly above."""

    class Given(DLRMModule):
        scores: Iterator[float]

        def on_validation_epoch_end(self) -> None:
            self.log("val_auroc", next(self.scores))

    def epochs(*scores: float) -> int:
        torch.manual_seed(0)
        module = Given(**SMALL)
        module.scores = iter(scores)
        stop = EarlyStopping("val_auroc", mode="max", stopping_threshold=0.75, patience=1_000_000)
        trainer = make_trainer(max_epochs=4, callbacks=[stop])
        trainer.fit(module, loader(make_batches(1)), loader(make_batches(1)))
        return trainer.current_epoch

    assert epochs(0.70, 0.74, 0.76, 0.9) == 3
    assert epochs(0.70, 0.75, 0.75, 0.75) == 4
    assert epochs(0.70, 0.60, 0.50, 0.40) == 4


def test_early_stopping_reads_the_modules_own_auroc() -> None:
    stop = EarlyStopping("val_auroc", mode="max", stopping_threshold=0.8, patience=1_000_000)
    trainer = make_trainer(max_epochs=50, callbacks=[stop])
    trainer.fit(make_module(), loader(make_batches(100, b=64)), loader(make_batches(4, b=256, seed=1)))
    assert 0 < trainer.current_epoch < 50
    assert trainer.callback_metrics["val_auroc"] > 0.8


@pytest.mark.parametrize(
    ("optimizer", "dense_optimizer"),
    [("sgd", None), ("adagrad", None), ("rwsadagrad", None), ("rwsadagrad", "lamb"), ("sgd", "adam")],
)
def test_resuming_equals_an_uninterrupted_run(tmp_path: Path, optimizer: str, dense_optimizer: str | None) -> None:
    batches = make_batches(5)
    options: dict[str, Any] = {
        "optimizer": optimizer,
        "dense_optimizer": dense_optimizer,
        "lr_num_warmup_steps": 7,
        "lr_decay_start_step": 8,
        "lr_num_decay_steps": 9,
    }
    whole, seen = fitted(batches, max_epochs=3, **options)
    first = make_module(**options)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(first, loader(batches))
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    second, rates = make_module(seed=1, **options), Rates()
    resumed = make_trainer(max_epochs=3, callbacks=[rates])
    resumed.fit(second, loader(batches), ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert resumed.global_step == 15
    assert rates.rates == seen.rates[5:]
    assert_same_weights(second, whole)


def test_a_checkpoint_of_an_earlier_version_resumes_with_the_only_optimizer_that_it_had(tmp_path: Path) -> None:
    """It does not state dense_optimizer; another optimizer does not fit its state."""
    batches = make_batches(5)
    whole, _ = fitted(batches, max_epochs=2)
    first, trainer = make_module(), make_trainer()
    trainer.fit(first, loader(batches))
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    checkpoint = torch.load(tmp_path / "first.ckpt", weights_only=True)
    hyperparameters = checkpoint["hyper_parameters"]
    for name in [*hyperparameters]:
        if name.startswith(("dense_", "epsilon", "lr_schedule", "lr_decay_power", "lr_end_factor")):
            del hyperparameters[name]
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    resuming: dict[str, Any] = {"ckpt_path": tmp_path / "earlier.ckpt", "weights_only": True}
    other = make_module(seed=1, dense_optimizer="adam")
    with pytest.raises(ConfigurationError, match=r"model\.dense_optimizer is adam, but not set in the checkpoint"):
        make_trainer(max_epochs=2).fit(other, loader(batches), **resuming)
    second = make_module(seed=1)
    make_trainer(max_epochs=2).fit(second, loader(batches), **resuming)
    assert_same_weights(second, whole)


@pytest.mark.parametrize(
    ("sizes", "fingerprint", "message"),
    [
        ([6, 5, 10], "aa", "table 2: the dataset has 10 rows, the model 9"),
        ([6, 5], "aa", "the dataset has 2 tables, the model 3"),
        ([6, 5, 9], "bb", "The dataset is bb, but the model was made for aa: the table sizes agree"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "test"])
def test_another_dataset_is_refused_before_the_first_step(
    command: str, sizes: list[int], fingerprint: str, message: str
) -> None:
    module = make_module(dataset_fingerprint="aa")
    with pytest.raises(DatasetError, match=message):
        getattr(make_trainer(), command)(module, datamodule=FakeData(sizes, fingerprint))


def test_a_module_without_a_fingerprint_takes_the_datasets() -> None:
    module = make_module()
    make_trainer().fit(module, datamodule=FakeData(SIZES, "aa"))
    assert module.contract.dataset_fingerprint == "aa"


def test_module_without_initial_weights_takes_no_memory_and_then_the_tensors_themselves() -> None:
    shape = {"embedding_dim": 8, "bottom_mlp": [13, 8], "top_mlp": [1]}
    with skip_weight_init():
        huge = DLRMModule([10**10] * 3, **shape)  # type: ignore[arg-type]
        module = DLRMModule([40, 7], **shape)  # type: ignore[arg-type]
    assert all(parameter.is_meta for parameter in huge.parameters())
    assert huge.cpu() is huge  # A run that fails before the weights are loaded ends with this error.
    state = DLRMModule([40, 7], **shape).state_dict()  # type: ignore[arg-type]
    module.load_state_dict(state)
    for name, parameter in module.named_parameters():
        assert parameter.data_ptr() == state[name].data_ptr()
    usual = DLRMModule([40, 7], **shape)  # type: ignore[arg-type]
    usual.load_state_dict(state)
    assert usual.model.embedding_bags.weights()[0].data_ptr() != module.model.embedding_bags.weights()[0].data_ptr()


@pytest.mark.parametrize("multi_hot", [False, True])
def test_split_tables_are_read_by_halves_only_in_training(multi_hot: bool) -> None:
    batch = make_batches(1)[0]
    batch = as_multi_hot(batch) if multi_hot else batch
    module, whole = make_module(table_format="split"), make_module()
    assert np.array_equal(module.predict(batch), whole.predict(batch))
    halves = make_module()
    for table in halves.model.embedding_bags.weights():
        table.view(torch.int32).bitwise_and_(-65536)
    assert torch.equal(module(batch), halves(batch))
    assert not torch.equal(module(batch), whole(batch))
    assert torch.equal(module.eval()(batch), whole(batch))


def test_checkpoint_is_not_continued_with_another_table_format(tmp_path: Path) -> None:
    trainer = make_trainer()
    trainer.fit(make_module(), loader(make_batches(2)))
    trainer.save_checkpoint(tmp_path / "whole.ckpt")
    with pytest.raises(ConfigurationError, match=r"model\.table_format is split, but fp32 in the checkpoint"):
        make_trainer(max_epochs=2).fit(
            make_module(table_format="split"), loader(make_batches(2)), ckpt_path=tmp_path / "whole.ckpt"
        )
