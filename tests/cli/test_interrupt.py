"""After ctrl-C, `fit` keeps a checkpoint from which training resumes as if it had never been interrupted."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml

from dlrm_pl.callbacks.interrupt import CHECKPOINT_NAME, InterruptCheckpoint
from dlrm_pl.cli import main as cli
from dlrm_pl.model.load import read_checkpoint
from tests.support.training import loader, make_batches, make_module, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class PressCtrlC(pl.Callback):
    """Press ctrl-C while a step is trained, or during the validation after it."""

    def __init__(self, step: int, times: int = 1, *, in_validation: bool = False) -> None:
        self.step, self.times, self.in_validation = step, times, in_validation

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not self.in_validation:
            self._press()

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and self.in_validation:
            self._press()

    def _press(self) -> None:
        for _ in range(self.times):
            os.kill(os.getpid(), signal.SIGINT)


def write_run(folder: Path, data: Path, press: dict[str, Any] | None, **model: Any) -> Path:
    """Two epochs of six steps, with a checkpoint at the end."""
    saving = {"dirpath": str(folder), "filename": "end", "enable_version_counter": False}
    callbacks: list[dict[str, Any]] = [
        {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": saving}
    ]
    if press:
        callbacks.append({"class_path": "tests.cli.test_interrupt.PressCtrlC", "init_args": press})
    config = {
        "model": {"embedding_dim": 4, "bottom_mlp": [13, 4], "top_mlp": [4, 1], "learning_rate": 0.3} | model,
        "data": {"folder": str(data), "batch_size": 500},
        "trainer": {
            "default_root_dir": str(folder),
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "max_epochs": 2,
            "limit_train_batches": 6,
            "limit_val_batches": 1,
            "callbacks": callbacks,
        },
    }
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder / "run.yaml"


def fit(config: Path, *options: str) -> int:
    return cli.main(["fit", "-c", str(config), *options])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert fit(write_run(folder, synthetic_folder, None, optimizer="adagrad")) == 0
    return read_checkpoint(folder / "end.ckpt")


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("press", "saved_at"),
    [
        ({"step": 3}, 4),
        pytest.param({"step": 5}, 6, marks=pytest.mark.slow),  # The last checkpoint of an epoch.
        pytest.param({"step": 8}, 9, marks=pytest.mark.slow),
        ({"step": 6, "in_validation": True}, 7),
        ({"step": 12, "in_validation": True}, 12),  # Nothing is left to train.
    ],
)
def test_resumed_training_equals_an_uninterrupted_one(
    press: dict[str, Any],
    saved_at: int,
    uninterrupted: dict[str, Any],
    synthetic_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert fit(write_run(tmp_path, synthetic_folder, press, optimizer="adagrad")) == 130
    checkpoint = tmp_path / CHECKPOINT_NAME
    error = capfd.readouterr().err
    assert "Interrupted: saving a checkpoint after this batch" in error
    assert f"Interrupted. Run the same command with --ckpt_path {checkpoint} to continue." in error
    assert read_checkpoint(checkpoint)["global_step"] == saved_at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    again = write_run(tmp_path, synthetic_folder, None, optimizer="adagrad")
    assert fit(again, "--ckpt_path", str(checkpoint)) == 0
    if saved_at == 12:
        resumed = read_checkpoint(checkpoint)
    else:
        resumed = read_checkpoint(tmp_path / "end.ckpt")
        assert resumed["loops"]["fit_loop"]["epoch_progress"] == uninterrupted["loops"]["fit_loop"]["epoch_progress"]
    assert resumed["global_step"] == uninterrupted["global_step"] == 12
    assert resumed["state_dict"].keys() == uninterrupted["state_dict"].keys()
    for name, tensor in uninterrupted["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], tensor), name
    states, expected = (run["optimizer_states"][0]["state"] for run in (resumed, uninterrupted))
    for index, state in expected.items():
        assert all(torch.equal(torch.as_tensor(states[index][key]), torch.as_tensor(state[key])) for key in state)


def test_second_ctrl_c_ends_at_once(synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(write_run(tmp_path, synthetic_folder, {"step": 3, "times": 2})) == 130
    error = capsys.readouterr().err
    assert (
        "No partial output was left. To continue, run the same command with --ckpt_path and an earlier checkpoint"
        in error
    )
    assert "run the same command again" not in error  # Its checkpoints would be in the way.
    assert not (tmp_path / CHECKPOINT_NAME).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_checkpoints_or_the_main_thread_ctrl_c_stays_as_it_is(tmp_path: Path) -> None:
    trainer = pl.Trainer(enable_checkpointing=False, logger=False, accelerator="cpu", default_root_dir=tmp_path)
    InterruptCheckpoint().on_train_start(trainer, pl.LightningModule())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trainer = pl.Trainer(logger=False, accelerator="cpu", default_root_dir=tmp_path)
    thread = threading.Thread(target=InterruptCheckpoint().on_train_start, args=(trainer, pl.LightningModule()))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    callback = InterruptCheckpoint()
    callback.on_train_start(trainer, pl.LightningModule())
    assert signal.getsignal(signal.SIGINT) == callback._remember
    callback.on_exception(trainer, pl.LightningModule(), ValueError())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_that_ctrl_c_ended_at_once_does_not_stop_the_next_one(tmp_path: Path) -> None:
    callback = InterruptCheckpoint()
    trained = [loader(make_batches(4)), make_module()]

    def fit(*callbacks: pl.Callback) -> pl.Trainer:
        trainer = quiet_trainer(
            default_root_dir=tmp_path, max_steps=4, enable_checkpointing=True, callbacks=[*callbacks, callback]
        )
        trainer.fit(trained[1], trained[0])
        return trainer

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(PressCtrlC(step=1, times=2))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves the signal ignored.
    assert fit().global_step == 4
