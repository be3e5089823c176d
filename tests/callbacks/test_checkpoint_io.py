"""A checkpoint is there whole, or as it was before."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dlrm_pl.callbacks import checkpoint_io
from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.checkpoints.contract import CheckpointContract
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


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_stop_in_the_middle_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    plugin, path = AtomicCheckpointIO(), tmp_path / "a.ckpt"
    plugin.save_checkpoint(CHECKPOINT, path)
    before = path.read_bytes()
    real = checkpoint_io.atomic_file

    class Stopping:
        """Takes the first bytes, and then no more."""

        def __init__(self, handle: IO[bytes]) -> None:
            self.handle, self.taken = handle, 0

        def write(self, part: bytes) -> int:
            if self.taken > 1000:
                raise error
            self.taken += self.handle.write(part)
            return len(part)

        def flush(self) -> None:
            self.handle.flush()

    @contextmanager
    def stopping(target: Path, mode: str) -> Iterator[Stopping]:
        with real(target, "wb") as handle:
            yield Stopping(handle)

    monkeypatch.setattr(checkpoint_io, "atomic_file", stopping)
    with pytest.raises(type(error)):
        plugin.save_checkpoint(CHECKPOINT | {"step": 4}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_trainer_uses_it_unless_another_was_given() -> None:
    assert isinstance(quiet_trainer().strategy.checkpoint_io, AtomicCheckpointIO)

    class Other(TorchCheckpointIO):
        pass

    other = Other()
    assert quiet_trainer(plugins=[other]).strategy.checkpoint_io is other
    assert quiet_trainer(plugins=other).strategy.checkpoint_io is other
