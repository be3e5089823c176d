"""Lightning's commands report wrong options in one message, before any training."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlrm_pl.cli import main as cli
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.load import read_checkpoint
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.trainer import DLRMTrainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MODEL: dict[str, Any] = {"embedding_dim": 4, "bottom_mlp": [13, 4], "top_mlp": [1], "learning_rate": 0.1}
QUIET: dict[str, Any] = {
    **{"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False},
    **{"num_sanity_val_steps": 0, "enable_checkpointing": False, "max_steps": 2},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Path:
    """The checkpoint of a short run."""
    path = tmp_path_factory.mktemp("saved") / "a.ckpt"
    data = DLRMDataModule(str(synthetic_folder), batch_size=500)
    trainer = DLRMTrainer(**QUIET)
    fingerprint = data.dataset_fingerprint
    trainer.fit(DLRMModule(data.table_sizes, **MODEL, dataset_fingerprint=fingerprint), datamodule=data)
    trainer.save_checkpoint(path)
    return path


@pytest.fixture
def config(tmp_path: Path, synthetic_folder: Path) -> Path:
    """A complete run configuration."""
    trainer = QUIET | {"default_root_dir": str(tmp_path)}
    data = {"folder": str(synthetic_folder), "batch_size": 500}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": MODEL, "data": data, "trainer": trainer}))
    return tmp_path / "config.yaml"


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Return the single message of a refused command."""
    assert cli.main([str(arg) for arg in args]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_a_logger_without_its_package_is_one_line(
    capsys: pytest.CaptureFixture[str], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytorch_lightning.loggers.mlflow._MLFLOW_AVAILABLE", Absent())
    line = refused(capsys, "fit", "-c", config, "--trainer.logger", "MLFlowLogger")
    assert line == "error: pytorch_lightning.loggers.MLFlowLogger: pip install mlflow"


class Absent:
    """A package that Lightning has looked for and not found."""

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "pip install mlflow"


def test_what_the_trainer_refuses_is_one_line(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    assert "invalid strategy name: `strategy='x'`" in refused(capsys, "fit", "-c", config, "--trainer.strategy", "x")


def test_the_last_checkpoint_by_name(config: Path, saved: Path) -> None:
    options = {"dirpath": str(config.parent), "save_last": True, "enable_version_counter": False}
    saving = [{"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": options}]
    more = {"enable_checkpointing": True, "max_steps": 4, "callbacks": saving}
    (config.parent / "more.yaml").write_text(yaml.safe_dump({"trainer": more}))
    shutil.copy(saved, config.parent / "last.ckpt")
    arguments = ("fit", "-c", config, "-c", config.parent / "more.yaml", "--ckpt_path", "last")
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert read_checkpoint(config.parent / "last.ckpt")["global_step"] == 4


def test_what_the_checkpoint_overrules_is_named(config: Path, saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Settings that are the same are not named."""
    same = ("--model.learning_rate", "0.1", "--model.lr_num_warmup_steps", "0")
    others = ("--model.optimizer", "adagrad", "--model.top_mlp", "[2, 1]")
    with caplog.at_level(logging.WARNING, logger="dlrm_pl"):
        assert cli.main(["validate", "-c", str(config), "--ckpt_path", str(saved), *same, *others]) == 0
    (warning,) = [
        record.getMessage() for record in caplog.records if "checkpoint's hyperparameters" in record.getMessage()
    ]
    words = "top_mlp=[1] instead of [2, 1]; optimizer='sgd' instead of 'adagrad'"
    assert warning == f"{saved}: using the checkpoint's hyperparameters: {words}"


def test_fit_continues_with_changed_settings_only_if_told_to(
    capsys: pytest.CaptureFixture[str], config: Path, saved: Path
) -> None:
    arguments = ("fit", "-c", config, "--ckpt_path", saved, "--model.learning_rate", "0.2", "--trainer.max_steps", "4")
    assert "model.learning_rate is 0.2, but 0.1 in the checkpoint" in refused(capsys, *arguments)
    options = {"dirpath": str(config.parent), "save_last": True}
    callbacks = [{"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": options}]
    again = {"trainer": {"callbacks": callbacks, "enable_checkpointing": True}}
    (config.parent / "more.yaml").write_text(yaml.safe_dump(again))
    arguments = (*arguments, "-c", config.parent / "more.yaml", "--override")
    assert cli.main([str(argument) for argument in arguments]) == 0
    checkpoint = read_checkpoint(config.parent / "last.ckpt")
    assert checkpoint["hyper_parameters"]["learning_rate"] == 0.2
    assert "learning_rate is 0.2, but 0.1" in checkpoint["dlrm_pl_run"]["overridden"][0]["changes"][0]


def test_one_of_several_processes_quantizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["quantize", "--ckpt_path", "missing.ckpt"]) == 0
    monkeypatch.setenv("RANK", "0")
    assert cli.main(["quantize", "--ckpt_path", "missing.ckpt"]) == 2
