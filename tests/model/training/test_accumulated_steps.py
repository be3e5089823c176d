"""Accumulation and clipping for each pair of optimizers, compared with one large batch and with dense gradients."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.losses import click_loss
from tests.support.training import loader, make_batches, make_module, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

PAIRS: list[dict[str, Any]] = [
    {"optimizer": "sgd"},
    {"optimizer": "adagrad"},
    {"optimizer": "rwsadagrad"},
    {"optimizer": "rwsadagrad", "dense_optimizer": "adam", "dense_weight_decay": 0.1},
    {"optimizer": "sgd", "dense_optimizer": "lamb", "dense_learning_rate": 0.01},
    {"optimizer": "adagrad", "weighted_pooling": "learned"},
]
CLIPPING: list[dict[str, Any]] = [
    {},
    {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "norm"},
    {"gradient_clip_val": 0.003, "gradient_clip_algorithm": "value"},
]


def joined(batches: list[ClickBatch]) -> ClickBatch:
    labels = torch.cat([batch.known_labels for batch in batches])
    indices = torch.cat([batch.indices for batch in batches], dim=1)
    return ClickBatch(torch.cat([batch.dense for batch in batches]), indices, None, labels)


def double(batches: list[ClickBatch]) -> list[ClickBatch]:
    return [batch._replace(dense=batch.dense.double(), labels=batch.known_labels.double()) for batch in batches]


def fitted(batches: list[ClickBatch], options: dict[str, Any], **of_trainer: Any) -> DLRMModule:
    module = make_module(**options)
    trainer = make_trainer(precision="64-true", **of_trainer)
    trainer.fit(module, loader(double(batches)))
    return module


def assert_close(one: DLRMModule, other: DLRMModule) -> None:
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.each_value
@pytest.mark.parametrize("clipping", CLIPPING, ids=["", "norm", "value"])
@pytest.mark.parametrize("options", PAIRS, ids=str)
def test_accumulated_batches_are_one_large_batch(options: dict[str, Any], clipping: dict[str, Any]) -> None:
    """Rows that occur in several batches have one gradient, and are clipped and updated once."""
    batches = make_batches(6, b=8)
    accumulated = fitted(batches, options, accumulate_grad_batches=3, **clipping)
    assert accumulated.trainer.global_step == 2
    assert_close(accumulated, fitted([joined(batches[:3]), joined(batches[3:])], options, **clipping))


@pytest.mark.parametrize("clipping", CLIPPING[1:], ids=["norm", "value"])
def test_clipping_is_torchs_of_dense_gradients(clipping: dict[str, Any]) -> None:
    batch = double(make_batches(1, b=30))[0]
    module = make_module().double()
    start = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    click_loss(module(batch), batch.known_labels, "bce").backward()
    gradients = {name: p.grad.to_dense() for name, p in module.named_parameters() if p.grad is not None}  # type: ignore[attr-defined]
    dense = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients.values()]
    for parameter, gradient in zip(dense, gradients.values(), strict=True):
        parameter.grad = gradient.clone()
    limit = clipping["gradient_clip_val"]
    if clipping["gradient_clip_algorithm"] == "norm":
        assert torch.nn.utils.clip_grad_norm_(dense, limit) > limit
    else:
        torch.nn.utils.clip_grad_value_(dense, limit)
        assert max(float(gradient.abs().max()) for gradient in gradients.values()) > limit
    trained = fitted(make_batches(1, b=30), {"learning_rate": 1.0}, **clipping)
    for (name, parameter), clipped in zip(trained.named_parameters(), dense, strict=True):
        torch.testing.assert_close(start[name] - parameter.detach(), clipped.grad, rtol=1e-9, atol=1e-12)


def test_both_learning_rates_follow_the_schedule() -> None:
    class Rates(pl.Callback):
        seen: list[tuple[float, ...]] = []  # noqa: RUF012

        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            self.seen.append(tuple(group["lr"] for group in trainer.optimizers[0].param_groups))

    options: dict[str, Any] = {
        **{"learning_rate": 0.2, "dense_learning_rate": 0.4, "dense_optimizer": "adam", "lr_num_warmup_steps": 2},
        **{"lr_schedule": "polynomial", "lr_decay_power": 1.0, "lr_decay_start_step": 2, "lr_num_decay_steps": 2},
    }
    fitted(make_batches(5), options, callbacks=[Rates()])
    assert [pair for rates in Rates.seen for pair in rates] == pytest.approx(
        [0.2, 0.1, 0.4, 0.2, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0]
    )
