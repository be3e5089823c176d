"""Which engine trains, and what is logged about the choice."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.native.engines import needs_native
from tests.support.training import SMALL, loader, make_batches, make_module, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


DCN: dict[str, Any] = {"interaction": "dcn", "cross_layers": 2, "cross_rank": 5}


def engine_line(module: DLRMModule, caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    with caplog.at_level(logging.INFO, "dlrm_pl"):
        make_trainer(max_steps=1, **options).fit(module, loader(make_batches(2)))
    (line,) = [record.message for record in caplog.records if record.message.startswith("training engine")]
    return line


class OwnLoss(DLRMModule):
    def training_step(self, batch: ClickBatch, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * 2


class OwnClipping(DLRMModule):
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for parameter in self.model.top_mlp.parameters():
            assert parameter.grad is not None
            parameter.grad.clamp_(-1, 1)


class OwnOptimizer(DLRMModule):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Head(DLRMModule):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scale = nn.Parameter(torch.ones(()))


class ReadsGradients(pl.Callback):
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass


def frozen() -> DLRMModule:
    module = make_module()
    module.model.top_mlp.requires_grad_(False)
    return module


def with_tanh() -> DLRMModule:
    module = make_module()
    module.model.bottom_mlp[1] = nn.Tanh()  # type: ignore[index]
    return module


def with_hook() -> DLRMModule:
    module = make_module()
    module.model.top_mlp.register_forward_hook(lambda *_: None)
    return module


def with_biased_v() -> DLRMModule:
    module = make_module(**DCN)
    module.model.cross_net.layers[1].v = nn.Linear(16, 5)  # type: ignore[union-attr]
    return module


@needs_native
@pytest.mark.parametrize("options", [{}, DCN], ids=["dot", "dcn"])
@pytest.mark.parametrize(("precision", "name"), [("32-true", "fp32"), ("bf16-mixed", "bf16")])
def test_auto_takes_native_code_and_says_so(
    precision: str, name: str, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    module = make_module(**options)
    assert module.engine_name is None
    assert engine_line(module, caplog, precision=precision).startswith(f"training engine: native ({name}, ")
    assert module.engine_name == "native"


@needs_native
@pytest.mark.parametrize(
    ("module", "options", "reason"),
    [
        (lambda: OwnLoss(**SMALL), {}, "OwnLoss overrides training_step"),
        (lambda: OwnClipping(**SMALL), {}, "OwnClipping overrides on_before_optimizer_step"),
        (lambda: OwnOptimizer(**SMALL), {}, "the optimizer has momentum=0.9"),
        (frozen, {}, "top_mlp.0.weight is frozen"),
        (with_tanh, {}, "bottom_mlp is not a sequence of Linear and ReLU"),
        (lambda: make_module(weighted_pooling="learned"), {}, "only torch can train weighted_pooling='learned'"),
        (with_hook, {}, "top_mlp has hooks"),
        (lambda: make_module(**DCN | {"cross_layers": 65}), {}, "cross_net has 65 layers, but it supports at most 64"),
        (lambda: make_module(bottom_mlp=[3, *[4] * 65]), {}, "bottom_mlp has 65 layers, but it supports at most 64"),
        (with_biased_v, {}, "cross_net is not a sequence of CrossLayers with plain Linears"),
        (make_module, {"callbacks": [ReadsGradients()]}, "the callback ReadsGradients uses on_after_backward"),
        (make_module, {"detect_anomaly": True}, "detect_anomaly"),
        (lambda: make_module().double(), {"precision": "64-true"}, "not 64-true"),
    ],
)
def test_auto_falls_back_to_torch_and_says_why(
    module: Any, options: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = module()
    line = engine_line(made, caplog, **options) if "precision" not in options else reason
    assert reason in line
    made = module()
    made.engine = "native"
    with pytest.raises(ConfigurationError, match=f"model.engine=native: .*{reason}.*set model.engine to torch"):
        make_trainer(max_steps=1, **options).fit(made, loader(make_batches(2)))


@needs_native
def test_other_parameters_are_named() -> None:
    with pytest.raises(ConfigurationError, match="Head has parameters beside those of DLRM"):
        make_trainer(max_steps=1).fit(Head(**SMALL, engine="native"), loader(make_batches(2)))


def test_dlrm_pl_isa_switches_native_code_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    assert "training engine: torch" in engine_line(make_module(), caplog)


def test_torch_is_taken_where_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    module = make_module(engine="torch")
    assert engine_line(module, caplog) == "training engine: torch (as model.engine requests)"
    assert module.engine_name == "torch"


def test_engine_is_no_hyperparameter() -> None:
    assert "engine" not in make_module(engine="torch").hparams


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="engine='cuda'"):
        make_module(engine="cuda")
