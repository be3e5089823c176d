"""Checkpoints of a Trainer: one write for two names, the last K, and one training at a time in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.errors import ConfigurationError, NonFiniteError, OutputError
from dlrm_pl.files.locks import folder_lock
from dlrm_pl.model.checkpoints.sharded.names import MARKER_NAME
from dlrm_pl.model.load import read_checkpoint
from dlrm_pl.trainer import DLRMTrainer
from tests.support.training import loader, make_batches, make_module, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def fit(
    folder: Path, *, asynchronous: bool = False, steps: int = 9, ckpt_path: Path | None = None, **options: Any
) -> DLRMTrainer:
    """Save a checkpoint every two steps."""
    options = {"dirpath": folder, "filename": "{step}", "every_n_train_steps": 2} | options
    trainer = quiet_trainer(
        max_steps=steps, callbacks=[ModelCheckpoint(**options)], async_checkpoints=asynchronous, limit_val_batches=0
    )
    trainer.fit(make_module(), loader(make_batches(steps)), ckpt_path=ckpt_path, overwrite=True)
    return trainer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.each_value
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("save_last", [True, "link"])
def test_last_checkpoint_is_a_second_name(tmp_path: Path, asynchronous: bool, save_last: Any) -> None:
    fit(tmp_path, asynchronous=asynchronous, save_last=save_last)
    assert names(tmp_path) == ["last.ckpt", "step=8.ckpt"]
    assert (tmp_path / "last.ckpt").samefile(tmp_path / "step=8.ckpt")
    assert not (tmp_path / "last.ckpt").is_symlink()
    assert read_checkpoint(tmp_path / "last.ckpt", whole=True)["global_step"] == 8


def test_last_checkpoint_of_a_training_that_goes_on_keeps_its_name(tmp_path: Path) -> None:
    """A training's first checkpoint does not know of the last one, which gets its name later."""
    fit(tmp_path, save_last=True, save_top_k=-1)
    fit(tmp_path, save_last=True, save_top_k=-1, ckpt_path=tmp_path / "step=2.ckpt")
    assert [name for name in names(tmp_path) if "last" in name] == ["last.ckpt"]
    fit(tmp_path, save_last=True, filename="b{step}", save_top_k=-1)  # Another training in the same folder.
    assert [name for name in names(tmp_path) if "last" in name] == ["last-v1.ckpt", "last.ckpt"]
    before = (tmp_path / "last.ckpt").stat().st_ino
    fit(tmp_path, steps=11, save_last=True, filename="b{step}", save_top_k=-1, ckpt_path=tmp_path / "last-v1.ckpt")
    assert [name for name in names(tmp_path) if "last" in name] == ["last-v1.ckpt", "last.ckpt"]
    assert (tmp_path / "last.ckpt").stat().st_ino == before
    assert read_checkpoint(tmp_path / "last-v1.ckpt", whole=True)["global_step"] == 10


def test_last_checkpoint_of_several_processes_is_replaced_by_a_file(tmp_path: Path) -> None:
    fit(tmp_path, save_top_k=-1)
    (tmp_path / "last.ckpt").mkdir()
    (tmp_path / "last.ckpt" / MARKER_NAME).write_text("{}")
    fit(tmp_path, save_last=True, save_top_k=-1, ckpt_path=tmp_path / "step=2.ckpt")
    assert (tmp_path / "last.ckpt").is_file()
    assert [name for name in names(tmp_path) if "last" in name] == ["last.ckpt"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_last_three_are_kept(tmp_path: Path, asynchronous: bool) -> None:
    fit(tmp_path, asynchronous=asynchronous, monitor="step", mode="max", save_top_k=3)
    assert names(tmp_path) == ["step=4.ckpt", "step=6.ckpt", "step=8.ckpt"]
    assert [read_checkpoint(path, whole=True)["global_step"] for path in sorted(tmp_path.iterdir())] == [4, 6, 8]


def test_keeping_the_first_three_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"mode='min': this mode keeps the first checkpoints.*Set mode: max"):
        fit(tmp_path, monitor="step", mode="min", save_top_k=3)


def test_names_that_are_being_written_are_taken(tmp_path: Path) -> None:
    fit(tmp_path, asynchronous=True, filename="a", monitor="step", mode="max", save_top_k=3)
    assert names(tmp_path) == ["a-v1.ckpt", "a-v2.ckpt", "a.ckpt"]


def test_weights_of_a_checkpoint_are_those_of_its_step(tmp_path: Path) -> None:
    for asynchronous in (False, True):
        fit(tmp_path / str(asynchronous), asynchronous=asynchronous, save_top_k=-1)
    for step in (2, 4, 6, 8):
        one, other = (
            torch.load(tmp_path / str(asynchronous) / f"step={step}.ckpt", weights_only=True)
            for asynchronous in (False, True)
        )
        torch.testing.assert_close(one["state_dict"], other["state_dict"], rtol=0, atol=0)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_weights_that_are_not_finite_never_replace_good_ones(tmp_path: Path, asynchronous: bool) -> None:
    """A table's row may be infinite long before a batch looks it up and the loss shows it."""
    module = make_module()
    batches = make_batches(8)
    for batch in batches:
        batch.indices[1].clamp_(max=3)
    trainer = quiet_trainer(
        max_steps=8,
        callbacks=[ModelCheckpoint(tmp_path, "a", every_n_train_steps=4, enable_version_counter=False)],
        async_checkpoints=asynchronous,
        limit_val_batches=0,
    )

    def spoil(step: int) -> None:
        if step == 5:
            module.model.embedding_bags.tables[1].weight.data[4, 2] = float("inf")

    trainer.callbacks.insert(0, _Calling(spoil))  # type: ignore[attr-defined]
    with pytest.raises(NonFiniteError, match=r"model\.embedding_bags\.tables\.1\.weight is not finite \(element 18\)"):
        trainer.fit(module, loader(batches))
    assert names(tmp_path) == ["a.ckpt"]
    assert read_checkpoint(tmp_path / "a.ckpt", whole=True)["global_step"] == 4


class _Calling(ModelCheckpoint):
    """Calls a function with the number of each step."""

    def __init__(self, function: Any) -> None:
        super().__init__(save_top_k=0)
        self.function = function

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.function(trainer.global_step)


def test_folder_that_another_training_writes_to_is_refused(tmp_path: Path) -> None:
    with (
        folder_lock(tmp_path / "runs"),
        pytest.raises(OutputError, match=rf"runs: is in use: process {os.getpid()} is writing it"),
    ):
        fit(tmp_path / "runs")
    fit(tmp_path / "runs")
    assert names(tmp_path) == ["runs"]


def test_another_plugin_and_asynchronous_checkpoints_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match=r"trainer\.plugins with a _Other are mutually exclusive"):
        quiet_trainer(plugins=[_Other()], async_checkpoints=True)
    own = AtomicCheckpointIO(asynchronous=True)
    assert quiet_trainer(plugins=[own]).strategy.checkpoint_io is own


class _Other(TorchCheckpointIO):
    pass
