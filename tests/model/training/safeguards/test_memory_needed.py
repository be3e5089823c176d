"""A training that does not fit into memory is refused before it begins."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl import memory
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings
from dlrm_pl.model.training.safeguards.memory_needed import TrainingMemory
from tests.support.training import SIZES, FakeData, loader, make_batches, make_module, quiet_trainer

MIB = 1 << 20
SHAPE = Architecture(table_sizes=(1_000_000, 10), embedding_dim=16, bottom_mlp=(3, 8, 16), top_mlp=(8, 1))


@pytest.mark.parametrize(
    ("optimizer", "state_bytes"),
    [("sgd", 0), ("adagrad", 62 * MIB + 640), ("rwsadagrad", 4 * MIB + 40)],
)
def test_state_is_that_of_the_optimizer(optimizer: Any, state_bytes: int) -> None:
    found = TrainingMemory.of(SHAPE, OptimizerSettings(optimizer))
    assert found.tables == 62 * MIB + 640  # 61.04 MiB, on pages of 2 MiB.
    assert found.state == state_bytes


def test_parts_are_named() -> None:
    found = TrainingMemory.of(SHAPE, OptimizerSettings(dense_optimizer="adam"), batch_size=1000)
    weights = 3 * 8 + 8 + 8 * 16 + 16 + 19 * 8 + 8 + 8 + 1
    assert found.mlps == 6 * 4 * weights
    assert str(found).startswith("tables 62 MiB, MLPs 8.1 KiB, batches ")
    assert TrainingMemory.of(SHAPE).batch == 0


def test_accumulated_gradients_count(monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = make_module(), FakeData(SIZES, "")
    data.batch_size = 1_000_000  # type: ignore[attr-defined]
    one = TrainingMemory.of(module.architecture, batch_size=1_000_000)
    five = TrainingMemory.of(module.architecture, batch_size=1_000_000, accumulated=5)
    assert five.batch - one.batch == 4 * 1_000_000 * 3 * (4 * 4 + 8)
    monkeypatch.setattr(memory, "available_bytes", lambda: one.total)
    with pytest.raises(ConfigurationError, match=r"The batches will need .*, or accumulate fewer batches\."):
        quiet_trainer(max_steps=1, enable_checkpointing=False, accumulate_grad_batches=5).fit(module, datamodule=data)


def test_tables_that_do_not_fit_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 * MIB)
    make_module(table_sizes=[1_000_000, 5, 9], embedding_dim=4, bottom_mlp=[3, 8, 4])
    with pytest.raises(
        ConfigurationError, match=r"The tables will need 154 MiB of memory, but only 100 MiB are available"
    ):
        make_module(table_sizes=[10_000_000, 5, 9], embedding_dim=4, bottom_mlp=[3, 8, 4])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_state_that_does_not_fit_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = make_module(optimizer="adagrad")
    trainer = quiet_trainer(max_steps=1, enable_checkpointing=False)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with (
        caplog.at_level(logging.INFO, logger="dlrm_pl"),
        pytest.raises(
            ConfigurationError, match=r"The optimizer's state and the batches will need .* but only 1,000 bytes"
        ),
    ):
        trainer.fit(module, loader(make_batches(1)))
    assert "memory needed for training: tables 320 bytes, optimizer's state 320 bytes, MLPs" in caplog.text


@pytest.mark.parametrize(
    ("group", "files", "left"),
    [
        (
            "0::/a/b",
            {
                "a/b/memory.max": "max",
                "a/memory.max": 5000,
                "a/memory.current": 2000,
                "a/memory.stat": "inactive_file 500",
            },
            3500,
        ),
        (
            "3:cpu,memory:/x",  # In a container, whose own group is the root.
            {
                "memory/memory.limit_in_bytes": 5000,
                "memory/memory.usage_in_bytes": 9000,
                "memory/memory.stat": "total_inactive_file 1000\nrss 3",
            },
            0,
        ),
        ("2:cpu:/x\n0::/", {}, None),
    ],
)
def test_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, files: dict[str, object], left: int | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    real = Path.read_text
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **k: group if str(self) == "/proc/self/cgroup" else real(self, *a, **k)
    )
    found = memory.available_bytes()
    assert found == left if left is not None else found > 1 << 20
