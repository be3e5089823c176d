"""Training for a GPU, run on the CPU: the code is the same except for the recording of CUDA graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrm_pl.callbacks.quantization_aware import QuantizationAwareTraining
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.load import load_checkpoint
from dlrm_pl.model.training.gpu import fused_step
from dlrm_pl.model.training.gpu.graph import Capture, Dense, DensePart
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.recipe import RecipeStart
from tests.support.training import SMALL, assert_same_weights, loader, make_batches, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

REPLAYS: list[torch.Size] = []


def stand_in(part: DensePart, dense: Tensor, sparse: Tensor) -> Dense:
    """Like a CUDA graph, refuse inputs of other shapes and read them from memory of its own."""
    own = dense.clone(), sparse.detach().clone()

    def replay(dense: Tensor, sparse: Tensor) -> Tensor:
        assert (dense.shape, sparse.shape) == (own[0].shape, own[1].shape)
        assert sparse.requires_grad
        REPLAYS.append(dense.shape)
        own[0].copy_(dense)
        return part(own[0], sparse)  # type: ignore[no-any-return]

    return replay


class OnGPU(DLRMModule):
    """A module that treats the CPU as a GPU."""

    def _is_gpu(self, device: torch.device) -> bool:
        return True

    def _capture(self) -> Capture:
        return stand_in


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    REPLAYS.clear()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 20, 1 << 20))


def made(kind: type[DLRMModule] = OnGPU, **options: Any) -> DLRMModule:
    torch.manual_seed(0)
    return kind(**(SMALL | {"engine": "torch"} | options))  # On a CPU, native code would train.


def fit(module: DLRMModule, batches: Any = None, path: Any = None, **options: Any) -> Any:
    trainer = make_trainer(**options)
    trainer.fit(module, loader(batches or make_batches(6)), ckpt_path=path)
    return trainer


def assert_close(one: DLRMModule, other: DLRMModule) -> None:
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.each_value
@pytest.mark.parametrize("place", ["device", "host"])
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adagrad"},
        {"optimizer": "rwsadagrad"},
        {"optimizer": "sgd", "dense_optimizer": "adam", "dense_learning_rate": 0.01},
        {"optimizer": "adagrad", "lr_num_warmup_steps": 4, "interaction": "cat"},
    ],
    ids=str,
)
def test_weights_are_those_of_sparse_gradients(options: dict[str, Any], place: str) -> None:
    one, other = made(tables_on=place, **options), made(DLRMModule, **options)
    fit(one)
    fit(other)
    assert_close(one, other)
    assert len(REPLAYS) == 6


def test_tables_get_no_gradients_while_their_rows_change() -> None:
    module = made()
    before = [table.clone() for table in module.model.embedding_bags.parameters()]
    fit(module)
    for table, old in zip(module.model.embedding_bags.parameters(), before, strict=True):
        assert table.grad is None
        assert not torch.equal(table, old)


def test_a_batch_of_another_size_is_computed_without_the_graph() -> None:
    batches = [*make_batches(3), *make_batches(1, b=5), *make_batches(1)]
    one, other = made(), made(DLRMModule)
    fit(one, batches)
    fit(other, batches)
    assert_close(one, other)
    assert [torch.Size([16, 3])] * 4 == REPLAYS


def test_bfloat16_products_are_those_of_autocast() -> None:
    one, other = made(), made(DLRMModule)
    fit(one, precision="bf16-mixed")
    fit(other, precision="bf16-mixed")
    assert_close(one, other)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "rwsadagrad"])
def test_going_on_from_a_checkpoint_gives_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    batches = make_batches(6)
    whole, cut, resumed = (made(optimizer=optimizer) for _ in range(3))
    fit(whole, batches, max_epochs=2)
    fit(cut, batches).save_checkpoint(tmp_path / "a.ckpt")
    fit(resumed, batches, tmp_path / "a.ckpt", max_epochs=2)
    assert_same_weights(whole, resumed)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "rwsadagrad"])
def test_a_checkpoint_goes_on_on_a_cpu(tmp_path: Path, optimizer: str) -> None:
    batches = make_batches(6)
    plain, cut, resumed = (made(kind, optimizer=optimizer) for kind in (DLRMModule, OnGPU, DLRMModule))
    fit(plain, batches, max_epochs=2)
    fit(cut, batches).save_checkpoint(tmp_path / "a.ckpt")
    states = torch.load(tmp_path / "a.ckpt", weights_only=True)["optimizer_states"][0]["state"]
    assert {float(state["step"]) for state in states.values() if "step" in state} <= {6.0}
    fit(resumed, batches, tmp_path / "a.ckpt", max_epochs=2)
    assert_close(plain, resumed)
    assert list(load_checkpoint(tmp_path / "a.ckpt").state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"accumulate_grad_batches": 2}, r"trainer\.accumulate_grad_batches is 2"),
        ({"gradient_clip_val": 0.5}, r"trainer\.gradient_clip_val is 0\.5"),
        (
            {"callbacks": [QuantizationAwareTraining(RecipeStart(linears="fp32", tables="int4", interaction="fp32"))]},
            "QuantizationAwareTraining trains through torch's autograd",
        ),
    ],
    ids=str,
)
def test_what_needs_gradients_gets_them(options: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    one, other = made(), made(DLRMModule)
    fit(one, **options)
    fit(other, **options)
    assert_same_weights(one, other)
    assert REPLAYS == []
    assert f"torch's sparse gradients on cpu, because {reason}".replace("\\", "") in caplog.text
    with pytest.raises(ConfigurationError, match=rf"model\.tables_on=host: .* because {reason}\. Change that"):
        fit(made(tables_on="host"), **options)


def test_after_training_the_tables_are_ordinary_parameters() -> None:
    module = made()
    trainer = fit(module)
    module.train()
    before = [table.clone() for table in module.model.embedding_bags.parameters()]
    module.model(make_batches(1)[0]).sum().backward()
    for table, old in zip(module.model.embedding_bags.parameters(), before, strict=True):
        assert table.grad is not None
        assert torch.equal(table, old)
    trainer.validate(module, loader(make_batches(3)), verbose=False)


def test_tables_on_the_host_are_scored_there() -> None:
    one, other = made(tables_on="host"), made(DLRMModule)
    scores = [make_trainer().test(module, loader(make_batches(4)), verbose=False)[0] for module in (one, other)]
    assert scores[0] == pytest.approx(scores[1])
    assert one.model.embedding_bags.fused is not None


def test_tables_that_do_not_fit_are_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (600, 1 << 20))
    assert fused_step.check_room(made().model, "sgd", torch.device("cuda")) is None
    with pytest.raises(
        ConfigurationError, match=r"320 bytes and the state of adagrad takes 320 bytes, but cpu has 600 bytes free"
    ):
        fit(made(optimizer="adagrad"))
    fit(made(optimizer="adagrad", tables_on="host"))


def test_a_diverging_loss_ends_the_training_as_on_a_cpu() -> None:
    batches = make_batches(3)
    batches[1].dense.fill_(float("inf"))
    with pytest.raises(Exception, match="loss"):
        fit(made(), batches)


def test_split_tables_are_trained_by_torch() -> None:
    one, other = made(table_format="split"), made(DLRMModule, table_format="split")
    fit(one)
    fit(other)
    assert_same_weights(one, other)
    with pytest.raises(
        ConfigurationError,
        match=r"model\.tables_on=host: .* which is not possible because model\.table_format is split\.",
    ):
        fit(made(tables_on="host", table_format="split"))
