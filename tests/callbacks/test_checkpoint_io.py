"""A checkpoint is written completely, or the previous one stays unchanged."""

from __future__ import annotations

import errno
import os
import resource
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dlrm_pl.callbacks import checkpoint_io
from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.saving.native import Job
from dlrm_pl.saving.snapshot import Writer
from tests.support import tiny
from tests.support.training import quiet_trainer

CHECKPOINT = {"weights": torch.arange(100_000.0), "step": 3}


def test_what_was_saved_comes_back_and_may_be_written_to(tmp_path: Path) -> None:
    plugin, path = AtomicCheckpointIO(), tmp_path / "deep" / "a.ckpt"
    contract = CheckpointContract(tiny.ARCHITECTURE, "feed")
    checkpoint: dict[str, Any] = {"state_dict": {"weights": torch.arange(5000.0)}, "epoch": 0, "global_step": 3}
    contract.write(checkpoint)
    plugin.save_checkpoint(checkpoint, str(path))
    found = plugin.load_checkpoint(path, weights_only=True)
    assert torch.equal(found["state_dict"]["weights"], torch.arange(5000.0))
    assert (found["global_step"], CheckpointContract.read(found)) == (3, contract)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.ckpt"]
    before = path.read_bytes()
    found["state_dict"]["weights"] += 1
    assert path.read_bytes() == before


def test_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(CHECKPOINT, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: Not a dlrm_pl checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_full_disk_leaves_the_earlier_one(tmp_path: Path, asynchronous: bool) -> None:
    plugin, path = AtomicCheckpointIO(asynchronous), tmp_path / "a.ckpt"
    plugin.save_checkpoint(CHECKPOINT, path)
    plugin.finish()
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # The next write fails as it would on a full disk.
    try:
        with pytest.raises(OSError, match="File too large"):
            plugin.save_checkpoint(CHECKPOINT | {"step": 4}, path)
            plugin.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    plugin.save_checkpoint(CHECKPOINT | {"step": 4}, path)  # Later checkpoints are written again.
    plugin.finish()
    assert torch.load(path, weights_only=True)["step"] == 4


def test_ctrl_c_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, path = AtomicCheckpointIO(), tmp_path / "a.ckpt"
    plugin.save_checkpoint(CHECKPOINT, path)
    before = path.read_bytes()

    def interrupted(self: Job) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plugin.save_checkpoint(CHECKPOINT | {"step": 4}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_second_name_of_a_checkpoint_is_a_link(tmp_path: Path, asynchronous: bool) -> None:
    plugin = AtomicCheckpointIO(asynchronous)
    checkpoint: dict[str, Any] = CHECKPOINT | {"callbacks": {"ModelCheckpoint": {"last_model_path": ""}}}
    plugin.save_checkpoint(checkpoint, tmp_path / "a.ckpt")
    plugin.save_checkpoint(CHECKPOINT | {"callbacks": {"ModelCheckpoint": {}}}, tmp_path / "last.ckpt")
    plugin.finish()
    assert (tmp_path / "last.ckpt").samefile(tmp_path / "a.ckpt")
    CHECKPOINT["weights"].add_(1)
    plugin.save_checkpoint(CHECKPOINT, tmp_path / "last.ckpt")
    plugin.finish()
    assert not (tmp_path / "last.ckpt").samefile(tmp_path / "a.ckpt")
    first, last = (torch.load(tmp_path / name, weights_only=True) for name in ("a.ckpt", "last.ckpt"))
    assert torch.equal(first["weights"] + 1, last["weights"])
    plugin.save_checkpoint(CHECKPOINT | {"step": 9}, tmp_path / "a.ckpt")
    plugin.finish()
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["step"] == 9


def test_file_system_without_links_gets_the_checkpoint_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    plugin = AtomicCheckpointIO()
    for name in ("a.ckpt", "last.ckpt"):
        plugin.save_checkpoint(CHECKPOINT, tmp_path / name)
    assert not (tmp_path / "last.ckpt").samefile(tmp_path / "a.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == (tmp_path / "a.ckpt").read_bytes()


def test_removal_waits_for_the_file_that_replaces_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, old, new = AtomicCheckpointIO(asynchronous=True), tmp_path / "old.ckpt", tmp_path / "new.ckpt"
    plugin.save_checkpoint(CHECKPOINT, old)
    plugin.finish()
    seen: list[bool] = []
    real = Writer.wait

    def wait(self: Writer) -> None:
        seen.append(old.exists())
        real(self)

    monkeypatch.setattr(Writer, "wait", wait)
    plugin.save_checkpoint(CHECKPOINT | {"step": 4}, new)
    plugin.remove_checkpoint(old)
    plugin.teardown()
    assert seen == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["new.ckpt"]


def test_asynchronous_checkpoints_need_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_io, "can_write", lambda: False)
    with pytest.raises(ConfigurationError, match="async_checkpoints=true needs native code,"):
        AtomicCheckpointIO(asynchronous=True)


@pytest.mark.parametrize("has_native_code", [True, False])
def test_what_only_torch_can_write_is_written_by_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_native_code: bool
) -> None:
    monkeypatch.setattr(checkpoint_io, "can_write", lambda: has_native_code)
    AtomicCheckpointIO().save_checkpoint(CHECKPOINT | {"when": datetime(2026, 1, 2)}, tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=False)["when"].day == 2


def test_trainer_uses_it_unless_another_was_given() -> None:
    assert isinstance(quiet_trainer().strategy.checkpoint_io, AtomicCheckpointIO)

    class Other(TorchCheckpointIO):
        pass

    other = Other()
    assert quiet_trainer(plugins=[other]).strategy.checkpoint_io is other
    assert quiet_trainer(plugins=other).strategy.checkpoint_io is other
