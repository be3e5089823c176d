"""Trainings that are killed repeatedly, and resume each time from their last checkpoint.

As a program, it imports slow packages once and forks a child for each training. It prints how often it killed one,
and fails unless the weights, the optimizer's state, the losses and the metrics equal those of an uninterrupted
training bit for bit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.load import read_checkpoint
from dlrm_pl.saving import native
from tests.support.training import click_module, quiet_trainer


@dataclass(frozen=True)
class Training:
    """The training's settings, and how its checkpoints are saved."""

    engine: str = "torch"
    optimizer: str = "sgd"
    dense_optimizer: str | None = None
    precision: str = "32-true"
    shuffle: str = "batch"
    num_workers: int = 0
    accumulate: int = 1
    asynchronous: bool = False
    by_time: bool = False
    hooks: bool = True
    epochs: int = 2
    batches: int = 24
    kills: int = 3

    def fit(self, data: Path, folder: Path, *callbacks: pl.Callback) -> None:
        """Train from the last checkpoint, if there is one, and save the result in ``result.pt``."""
        every: dict[str, Any] = {"every_n_train_steps": 5}
        if self.by_time:
            every = {"train_time_interval": timedelta(milliseconds=60)}
        saving = ModelCheckpoint(folder, "{step}", monitor="step", mode="max", save_top_k=2, save_last=True, **every)
        options: dict[str, Any] = {"learning_rate": 0.3, "lr_num_warmup_steps": 9, "optimizer": self.optimizer}
        options |= {"engine": self.engine, "dense_optimizer": self.dense_optimizer}
        datamodule = DLRMDataModule(
            str(data),
            batch_size=64,
            eval_batch_size=1000,
            shuffle=self.shuffle,  # type: ignore[arg-type]
            num_workers=self.num_workers,
        )
        module = click_module(datamodule, **options)
        trainer = quiet_trainer(
            max_epochs=self.epochs,
            limit_train_batches=self.batches,
            limit_val_batches=1,
            accumulate_grad_batches=self.accumulate,
            precision=self.precision,
            async_checkpoints=self.asynchronous,
            gradient_clip_val=0.5,
            callbacks=[*callbacks, saving],
        )
        last = folder / "last.ckpt"
        trainer.fit(module, datamodule=datamodule, ckpt_path=last if last.exists() else None, overwrite=True)
        result = {
            "weights": {name: tensor.clone() for name, tensor in module.state_dict().items()},
            "optimizer": trainer.optimizers[0].state_dict(),
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "steps": trainer.global_step,
        }
        torch.save(result, folder / "result.pt")


class Losses(pl.Callback):
    """Append the loss of each batch to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = float(trainer.callback_metrics["train_loss"])
        with self.path.open("a") as handle:
            handle.write(f"{trainer.current_epoch} {batch_idx} {loss.hex()}\n")


class KillAt(pl.Callback):
    """Kill this process in a batch hook."""

    def __init__(self, batches: int, hook: str) -> None:
        self.left, self.hook = batches, hook

    def on_train_batch_start(self, *_: Any) -> None:
        self.left -= 1
        if self.left <= 0 and self.hook == "start":
            die()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.left <= 0 and self.hook == "end":
            die()


def die() -> None:
    """End this process and its children like `kill -9`."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def kill_in_write(number: int) -> None:
    """Kill this process while it writes the n-th checkpoint in small slices."""
    real = native.Job.write

    def write(self: native.Job) -> bool:
        nonlocal number
        number -= 1
        if number <= 0:
            self._native.dlrm_saving_advance(self._job.ctypes.data, 3000)
            die()
        return real(self)

    native.Job.write = write  # type: ignore[method-assign]


def kill_after_fork(number: int) -> None:
    """Kill this process and the child that writes the n-th checkpoint, or only the parent."""
    real = native.Job.fork

    def fork(self: native.Job, *paths: Path) -> int:
        nonlocal number
        number -= 1
        child = real(self, *paths)
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == -1:
            die()
        return child

    native.Job.fork = fork  # type: ignore[method-assign]


def in_child(action: Callable[[], None]) -> int:
    """Run an action in a child with its own process group; return its exit status, negative for a signal."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setpgid(0, 0)
            torch.set_num_threads(1)
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(training: Training, data: Path, folder: Path, dice: random.Random) -> Callable[[], None]:
    """Choose where the next training is killed."""
    total = training.epochs * training.batches
    losses = [Losses(folder / "losses.txt")] if training.hooks else []
    kinds = ["write"] if not training.hooks else ["start", "end", "end", "write"]
    kind = dice.choice([*kinds, "time"])
    number = dice.randint(1, max(2, total // 2))

    def action() -> None:
        callbacks: list[pl.Callback] = [*losses]
        if kind in ("start", "end"):
            callbacks.append(KillAt(number, kind))
        elif kind == "time":
            signal.signal(signal.SIGALRM, lambda *_: die())
            signal.setitimer(signal.ITIMER_REAL, 0.002 * number + 0.1)
        elif training.asynchronous:
            kill_after_fork(1 + number % 4)
        else:
            kill_in_write(1 + number % 4)
        training.fit(data, folder, *callbacks)

    return action


def check(training: Training, data: Path, folder: Path, seed: int) -> int:
    """Compare a training that is killed with one that is not; return how often it was killed."""
    whole, broken = folder / "whole", folder / "broken"
    for place in (whole, broken):
        place.mkdir(parents=True)
    losses = [Losses(whole / "losses.txt")] if training.hooks else []
    assert in_child(lambda: training.fit(data, whole, *losses)) == 0
    dice, kills = random.Random(seed), 0
    for _ in range(training.kills):
        status = in_child(killed(training, data, broken, dice))
        assert status in (0, -signal.SIGKILL), status
        kills += status != 0
        wait_for_writers(broken)
        for path in broken.glob("*.ckpt"):
            read_checkpoint(path, whole=True)
        if status == 0:  # The training ended before it was killed: begin again.
            for path in broken.iterdir():
                path.unlink()
    losses = [Losses(broken / "losses.txt")] if training.hooks else []
    assert in_child(lambda: training.fit(data, broken, *losses)) == 0
    compare(whole, broken)
    return kills


def wait_for_writers(folder: Path) -> None:
    """Wait for a child that keeps writing after its parent was killed."""
    for _ in range(500):
        alive = [path for path in folder.glob(".*.tmp") if any(same_file(path, file) for file in open_files())]
        if not alive:
            return
        time.sleep(0.01)
    raise AssertionError(f"{alive} is still being written")


def same_file(one: Path, other: Path) -> bool:
    """Tell whether both are the same file; false if either was renamed meanwhile."""
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def open_files() -> list[Path]:
    """Return the files that processes with our writers' name have open."""
    found = []
    for name in Path("/proc").glob("[0-9]*/comm"):
        try:
            if name.read_text().strip() == "dlrm-checkpoint":
                found += [Path(os.readlink(link)) for link in (name.parent / "fd").iterdir()]
        except OSError:
            continue
    return found


def compare(whole: Path, broken: Path) -> None:
    """Check that two results are equal, bit for bit."""
    one, other = (torch.load(folder / "result.pt", weights_only=True) for folder in (whole, broken))
    assert one["steps"] == other["steps"], (one["steps"], other["steps"])
    torch.testing.assert_close(other["weights"], one["weights"], rtol=0, atol=0)
    torch.testing.assert_close(other["optimizer"]["state"], one["optimizer"]["state"], rtol=0, atol=0)
    assert one["metrics"] == other["metrics"]
    if (whole / "losses.txt").exists():
        expected, found = (set((folder / "losses.txt").read_text().splitlines()) for folder in (whole, broken))
        assert found == expected, sorted(found ^ expected)[:4]


if __name__ == "__main__":
    data, folder, trainings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    total = 0
    for number, options in enumerate(trainings):
        training = Training(**options)
        try:
            total += check(training, data, folder / str(number), seed=number)
        except AssertionError:
            print(f"with {asdict(training)}:", file=sys.stderr)
            raise
    print(total)
