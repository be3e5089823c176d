"""Rows with any columns, with lists and floats, through training, quantization and verification."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import dlrm_pl
from dlrm_pl import kernels
from dlrm_pl.benchmark.run import benchmark_artifact
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError, DatasetError
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.logs.any_columns import MIXED, write_dataset
from tests.support.training import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("mixed") / "data", MIXED, rows=1500).path


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    """Trained briefly, so that nothing has its initial value."""
    data = DLRMDataModule(folder, batch_size=128)
    torch.manual_seed(0)
    options = {"embedding_dim": 8, "bottom_mlp": (0, 16, 8), "top_mlp": (8, 1), "optimizer": "adagrad"}
    module = DLRMModule(data.table_sizes, **options, columns=data.columns)  # type: ignore[arg-type]
    trainer = quiet_trainer(max_epochs=2, enable_checkpointing=False)
    trainer.fit(module, datamodule=data)
    path = folder.parent / "model.ckpt"
    trainer.save_checkpoint(path)
    return path


def settings(**changes: object) -> dlrm_pl.TuningSettings:
    criterion = dlrm_pl.Criterion(relative=0.9, confidence=None, log_loss=None, calibration_ratio=None)
    return dataclasses.replace(dlrm_pl.TuningSettings(criterion=criterion, max_trials=2), **changes)  # type: ignore[arg-type]


def test_an_artifact_is_made_verified_and_timed(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    module, data = dlrm_pl.load_checkpoint(checkpoint), DLRMDataModule(folder)
    assert module.columns == MIXED
    assert module.architecture.pooling == ("sum", "mean", "sum", "sum", "sum")
    guard = dlrm_pl.WorstSlice(by="user", tolerance=0.9, slices=4)
    # Float Linears: if values up to 1,000 are beside some below 1, as in the test's columns, 8 bits lose the latter.
    chosen = settings(recipe=dlrm_pl.RecipeStart(linears="fp32"))
    chosen = dataclasses.replace(chosen, criterion=dataclasses.replace(chosen.criterion, worst_slice=guard))
    outcome = dlrm_pl.quantize(module, data, tmp_path / "int8", settings=chosen)
    assert outcome.certificate.worst_slice is not None
    assert outcome.certificate.worst_slice.column == "user"
    assert outcome.certificate.worst_slice.cut.names[-1] == "user of other values"
    artifact = dlrm_pl.load_artifact(tmp_path / "int8")
    assert artifact.columns == MIXED
    assert dlrm_pl.verify_artifact(tmp_path / "int8", folder, ckpt_path=checkpoint).drift.largest == 0
    batch = next(iter(data.test_dataloader()))
    with torch.no_grad():
        fp32, int8 = module.model(batch), artifact.model(batch)
    assert float((fp32 - int8).square().mean() / fp32.var()) < 0.01
    report = benchmark_artifact(artifact, ckpt_path=None, data=folder, batch_sizes=[64], threads=[1], seconds=0.01)
    assert report.row_bytes["int8"] > len(MIXED.sparse) * 8


@pytest.mark.parametrize("isa", kernels.int8.selection.available())
def test_every_variant_gives_the_same_bits(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, isa: str
) -> None:
    from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
    from dlrm_pl.quantization.recipe import Recipe, RecipeStart

    model, data = dlrm_pl.load_checkpoint(checkpoint).model, DLRMDataModule(folder)
    start = Recipe.starting_from(RecipeStart(), model.architecture)
    int8 = quantize(model, start, data.calibration_dataloader(), table_packer(model))
    batch = next(iter(data.test_dataloader()))
    monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    expected = int8(batch)
    monkeypatch.setenv("DLRM_PL_ISA", isa)
    assert torch.equal(int8(batch), expected)


@pytest.mark.parametrize("strategy", ["budget", "hawq_v2", "mse", "mse_v2"])
def test_strategies_measure_how_sensitive_lists_are(
    strategy: str, folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    module, data = dlrm_pl.load_checkpoint(checkpoint), DLRMDataModule(folder)
    outcome = dlrm_pl.quantize(module, data, tmp_path / "a", settings=settings(strategy=strategy))
    assert not [trial for trial in outcome.tuning.trials if trial.error]


def test_a_dataset_of_other_columns_is_refused_by_the_difference(checkpoint: Path, tmp_path: Path) -> None:
    sparse = (dataclasses.replace(MIXED.sparse[0], name="kode"), *MIXED.sparse[1:])
    other = write_dataset(tmp_path / "other", dataclasses.replace(MIXED, sparse=sparse)).path
    module = dlrm_pl.load_checkpoint(checkpoint)
    message = "Sparse column 0 is kode in the dataset, but code in the model"
    with pytest.raises(DatasetError, match=message):
        quiet_trainer().test(module, datamodule=DLRMDataModule(other))
    with pytest.raises(DatasetError, match=message):
        dlrm_pl.quantize(module, DLRMDataModule(other), tmp_path / "a")
    assert not (tmp_path / "a").exists()


class Unnamed:
    """The rows of a dataset that does not state its identity."""

    def __init__(self, folder: Path) -> None:
        self.data = DLRMDataModule(folder)

    def setup(self, stage: str) -> None:
        self.data.setup(stage)

    def calibration_dataloader(self) -> Any:
        return self.data.calibration_dataloader()

    def tuning_dataloader(self) -> Any:
        return self.data.tuning_dataloader()

    def certification_dataloader(self) -> Any:
        return self.data.certification_dataloader()


def test_an_artifact_of_rows_without_a_dataset_says_so(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    module = dlrm_pl.load_checkpoint(checkpoint)
    module.dataset_fingerprint = ""
    outcome = dlrm_pl.quantize(module, Unnamed(folder), tmp_path / "a", settings=settings())
    assert (outcome.manifest.dataset_fingerprint, outcome.manifest.columns) == ("", MIXED.statement())
    with pytest.raises(DatasetError, match="a data module that named no dataset"):
        dlrm_pl.verify_artifact(tmp_path / "a", folder)


def test_a_slice_by_a_list_or_an_unknown_column_is_refused_before_the_search(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    module, data = dlrm_pl.load_checkpoint(checkpoint), DLRMDataModule(folder)
    for by, message in (("tags", "the column has lists"), ("usr", "Did you mean user")):
        criterion = dlrm_pl.Criterion(relative=0.5, worst_slice=dlrm_pl.WorstSlice(by=by))
        callback = dlrm_pl.QuantizationCallback(str(tmp_path / "a"), criterion=criterion)
        with pytest.raises(ConfigurationError, match=message):
            quiet_trainer(callbacks=[callback], max_epochs=1, enable_checkpointing=False).fit(module, datamodule=data)
        with pytest.raises(ConfigurationError, match=message):
            dlrm_pl.quantize(module, data, tmp_path / "a", settings=settings(criterion=criterion))
