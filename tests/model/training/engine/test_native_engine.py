"""The native engine under Lightning's own Trainer, compared with torch."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import LookupIndexError, NonFiniteError
from tests.support.native.engines import assert_close, needs_native, trained
from tests.support.tiny import as_multi_hot
from tests.support.training import assert_same_weights, loader, make_batches, make_module, make_trainer

pytestmark = [
    needs_native,
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint"),
]

DCN: dict[str, Any] = {"interaction": "dcn", "cross_layers": 2, "cross_rank": 5}
MODULES: list[dict[str, Any]] = [
    {},
    {"optimizer": "adagrad"},
    {"optimizer": "rwsadagrad", "dense_optimizer": "adam", "dense_learning_rate": 0.01},
    {"dense_optimizer": "lamb", "dense_learning_rate": 0.01},
    {"interaction": "cat", "loss": "wbce", "loss_weights": [1.0, 3.0]},
    {"self_interaction": True, "loss": "mse", "loss_threshold": 0.05},
    DCN,
    DCN | {"optimizer": "adagrad", "learning_rate": 0.02, "epsilon": 1e-8},
    DCN | {"optimizer": "rwsadagrad", "dense_optimizer": "adam", "dense_learning_rate": 0.01},
    DCN | {"dense_optimizer": "lamb", "dense_learning_rate": 0.01},
    {"lr_num_warmup_steps": 5, "lr_decay_start_step": 6, "lr_num_decay_steps": 6},
]
TRAINERS: list[dict[str, Any]] = [
    {"accumulate_grad_batches": 5},
    {"gradient_clip_val": 0.05},
    {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    {"accumulate_grad_batches": 5, "gradient_clip_val": 0.02},
]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_model_is_trained_as_torch_does(module: dict[str, Any]) -> None:
    native, seen = trained("native", module=module, max_epochs=2)
    expected, by_torch = trained("torch", module=module, max_epochs=2)
    assert seen.losses == pytest.approx(by_torch.losses, rel=1e-4)
    assert seen.rates == by_torch.rates
    assert seen.steps == by_torch.steps
    assert_close(native, expected)


@pytest.mark.each_value
@pytest.mark.parametrize("module", [{}, DCN], ids=["dot", "dcn"])
@pytest.mark.parametrize("options", TRAINERS, ids=str)
def test_accumulation_and_clipping_are_those_of_torch(options: dict[str, Any], module: dict[str, Any]) -> None:
    native, seen = trained("native", module=module, max_epochs=2, **options)
    expected, by_torch = trained("torch", module=module, max_epochs=2, **options)
    assert seen.losses == pytest.approx(by_torch.losses, rel=1e-4)
    assert seen.steps == by_torch.steps
    assert_close(native, expected)


@pytest.mark.each_value
@pytest.mark.parametrize("first", ["native", "torch"])
@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "adagrad"}, {"optimizer": "rwsadagrad"}, DCN | {"optimizer": "adagrad"}], ids=str
)
def test_checkpoint_of_one_engine_is_continued_by_the_other(first: str, options: dict[str, Any], tmp_path: Any) -> None:
    second, batches = {"native": "torch", "torch": "native"}[first], make_batches(12)
    half = make_module(engine=first, **options)
    trainer = make_trainer(max_steps=6, max_epochs=2)
    trainer.fit(half, loader(batches))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    module = make_module(1, engine=second, **options)
    module.allow_other_settings = True
    make_trainer(max_steps=12, max_epochs=2).fit(
        module, loader(batches), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    expected, _ = trained("torch", module=options, batches=batches[:6] + batches[:6])
    assert module.trainer.global_step == 12
    if options:
        assert {float(state["step"]) for state in module.trainer.optimizers[0].state.values()} == {12.0}
    assert_close(module, expected)


class Doubles(pl.Callback):
    """Changes the weights of an MLP without changing a version number."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 3:
            for parameter in pl_module.model.top_mlp.parameters():
                parameter.data.mul_(2)


class DoublesCrossLayers(pl.Callback):
    """Does the same to the cross network."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 3:
            with torch.no_grad():
                for parameter in pl_module.model.cross_net.parameters():
                    parameter.mul_(2)


class Replaces(pl.Callback):
    """Replaces a module's tensor for a table."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 3:
            table = pl_module.model.embedding_bags.tables[0].weight
            table.data = table.data * 2


@pytest.mark.parametrize(
    ("callback", "module"), [(Doubles, {}), (Replaces, {}), (Doubles, DCN), (DoublesCrossLayers, DCN)]
)
def test_weights_that_a_callback_changes_are_noticed(callback: type[pl.Callback], module: dict[str, Any]) -> None:
    native, _ = trained("native", module=module, callbacks=[callback()])
    expected, _ = trained("torch", module=module, callbacks=[callback()])
    assert_close(native, expected)


def test_averaged_weights_are_those_of_torch() -> None:
    val = {"limit_val_batches": 2, "val_check_interval": 4}
    found = []
    for engine in ("native", "torch"):
        module = make_module(engine=engine)
        batches = loader(make_batches(12))
        make_trainer(max_epochs=2, callbacks=[EMAWeightAveraging(decay=0.9)], **val).fit(module, batches, batches)
        found.append(module)
    assert_close(*found)


def test_module_is_copied_and_pickled_without_its_engine() -> None:
    class Copies(pl.Callback):
        copied: Any = None

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            assert pl_module.native_engine() is not None
            assert pickle.loads(pickle.dumps(pl_module.native_engine())) is None
            self.copied = copy.deepcopy(pl_module.native_engine())

    copies = Copies()
    module, _ = trained("native", callbacks=[copies])
    assert copies.copied is None
    assert_same_weights(copy.deepcopy(module), module)


def test_loss_that_is_not_finite_stops_with_the_cause_and_trains_nothing() -> None:
    batches = make_batches(4)
    batches[2].dense[5, 1] = float("nan")
    module = make_module(engine="native")
    with pytest.raises(NonFiniteError, match=r"The loss is NaN at step 2.*dense feature 1 of sample 5"):
        make_trainer().fit(module, loader(batches))
    assert_same_weights(module, trained("native", batches=batches[:2])[0])


def test_index_outside_its_table_is_named_and_trains_nothing() -> None:
    batches = make_batches(4)
    batches[2].indices[1, 7] = 5
    module = make_module(engine="native")
    with pytest.raises(LookupIndexError, match=r"Sample 7 of batch 2 of epoch 0: table 1 .* index is 5"):
        make_trainer().fit(module, loader(batches))
    assert_same_weights(module, trained("native", batches=batches[:2])[0])


def test_multi_hot_batches_are_trained_as_torch_does() -> None:
    rng = torch.Generator().manual_seed(3)
    batches = []
    for batch in make_batches(6):
        lengths = torch.randint(0, 4, (3 * 16,), generator=rng)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        counts = lengths.view(3, 16).sum(1).tolist()
        rows = [torch.randint(size, (count,), generator=rng) for size, count in zip((6, 5, 9), counts, strict=True)]
        batches.append(ClickBatch(batch.dense, torch.cat(rows), offsets, batch.labels))
    native, seen = trained("native", batches=batches)
    expected, by_torch = trained("torch", batches=batches)
    assert seen.losses == pytest.approx(by_torch.losses, rel=1e-4)
    assert_close(native, expected)


@pytest.mark.each_value
@pytest.mark.parametrize("options", [{}, {"optimizer": "adagrad"}, {"interaction": "cat"}], ids=str)
@pytest.mark.parametrize("multi_hot", [False, True])
def test_split_tables_are_trained_as_torch_does(options: dict[str, Any], multi_hot: bool) -> None:
    batches = [as_multi_hot(batch) if multi_hot else batch for batch in make_batches(12)]
    native, seen = trained("native", module={"table_format": "split", **options}, batches=batches)
    expected, by_torch = trained("torch", module={"table_format": "split", **options}, batches=batches)
    _, whole = trained("torch", module=options, batches=batches)
    assert seen.losses == pytest.approx(by_torch.losses, rel=1e-4)
    assert seen.losses[0] != pytest.approx(whole.losses[0], rel=1e-6)
    assert_close(native, expected)
