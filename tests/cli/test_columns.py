"""Lightning's commands on a dataset with columns other than Criteo's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from dlrm_pl.cli import main as cli
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.load import load_checkpoint, read_checkpoint
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.logs.any_columns import MIXED, write_dataset
from tests.support.training import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SHAPE = ["--model.embedding_dim", "4", "--model.bottom_mlp", "[0, 4]", "--model.top_mlp", "[1]"]
QUIET = ["--trainer.accelerator", "cpu", "--trainer.max_steps", "1", "-q"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("columns") / "mixed", MIXED).path


def run(*args: object) -> int:
    return cli.main([str(arg) for arg in args])


def test_the_model_takes_the_columns_of_its_data(folder: Path, tmp_path: Path) -> None:
    assert run("fit", "--data", folder, *SHAPE, *QUIET, "--trainer.default_root_dir", tmp_path) == 0
    (path,) = tmp_path.rglob("*.ckpt")
    hyperparameters = read_checkpoint(path)["hyper_parameters"]
    assert hyperparameters["columns"] == MIXED.statement()
    module = load_checkpoint(path)
    assert module.columns == MIXED
    assert module.architecture.bottom_mlp == (len(MIXED.dense), 4)
    (config,) = tmp_path.rglob("config.yaml")
    assert "columns" not in yaml.safe_load(config.read_text())["model"]  # The next dataset has its own columns.
    assert run("test", "--data", folder, "--ckpt_path", path, *QUIET[:2], "-q") == 0


def test_another_dataset_is_refused_by_the_column_that_differs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DLRMDataModule(folder)
    torch.manual_seed(0)
    columns = dataclasses.replace(MIXED, dense=(*MIXED.dense[:-1], dataclasses.replace(MIXED.dense[-1], name="date")))
    module = DLRMModule(data.table_sizes, embedding_dim=4, bottom_mlp=(0, 4), top_mlp=(1,), columns=columns)
    trainer = quiet_trainer(max_steps=1, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    capsys.readouterr()
    assert run("test", "--data", folder, "--ckpt_path", tmp_path / "model.ckpt", *QUIET[:2]) == 2
    assert "Dense column 4 is date in the checkpoint, but time in the dataset" in capsys.readouterr().err


def test_an_earlier_checkpoint_with_the_number_of_criteos_columns_is_compared_by_its_columns(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense, sparse = Columns.criteo().num_dense, Columns.criteo().num_sparse
    module = DLRMModule([3] * sparse, embedding_dim=4, bottom_mlp=(dense, 4), top_mlp=(1,))
    trainer = quiet_trainer(max_steps=1, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    capsys.readouterr()
    assert run("test", "--data", folder, "--ckpt_path", tmp_path / "model.ckpt", *QUIET[:2]) == 2
    assert "The label is label in the checkpoint, but bought in the dataset" in capsys.readouterr().err


def test_a_first_width_that_is_not_the_number_of_dense_columns_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", "--data", folder, "--model.bottom_mlp", "[9, 16]", *QUIET) == 2
    message = capsys.readouterr().err
    assert "the number of dense columns is 5, but bottom_mlp begins with 9" in message
    assert "if bottom_mlp begins with 0, the number of dense columns takes its place" in message
