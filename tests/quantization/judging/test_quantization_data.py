"""Rows from a data module that is not this package's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import dlrm_pl
from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import CalibrationError, ConfigurationError, DatasetError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.quantization_data import FirstRows
from dlrm_pl.quantization.judging.row_sets import RowSets
from tests.support import tiny
from tests.support.training import loader, quiet_trainer

# Lightning warns that such a module has no loader for validation, which is intended.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Rows(pl.LightningDataModule):
    """A dataset of batches in memory, without anything else."""

    def __init__(self, **sets: Iterable[Any]) -> None:
        super().__init__()
        self.sets: dict[str, Iterable[Any]] = {
            "calibration": tiny.batches(1, 64, seed=2),
            "tuning": tiny.batches(3, 400, seed=3),
            "certification": tiny.batches(3, 300, seed=4),
        } | sets

    def train_dataloader(self) -> Any:
        return loader(tiny.batches(4, 64, seed=5))

    def calibration_dataloader(self) -> Any:
        return self.sets["calibration"]

    def tuning_dataloader(self) -> Any:
        return self.sets["tuning"]

    def certification_dataloader(self) -> Any:
        return self.sets["certification"]


def module() -> DLRMModule:
    torch.manual_seed(0)
    return DLRMModule(**tiny.ARCHITECTURE.to_dict())


SETTINGS = dlrm_pl.TuningSettings(criterion=dlrm_pl.Criterion(relative=0.5), max_trials=1)


def test_rows_are_counted_and_named() -> None:
    sets = RowSets.of_datamodule(Rows())
    assert {name: str(rows) for name, rows in sets.row_ranges.items()} == {
        "calibration": "val[0:64]",
        "tuning": "val[64:1264]",
        "certification": "test[0:900]",
    }
    assert (sets.batch_size, sets.dataset_fingerprint, sets.certification_checksum) == (400, "", "")
    assert sets.row_identities.keys() == {"calibration", "tuning"}
    assert RowSets.of_datamodule(Rows()).row_identities == sets.row_identities
    other = RowSets.of_datamodule(Rows(tuning=tiny.batches(3, 400, seed=9)))
    assert other.row_identities["tuning"] != sets.row_identities["tuning"]


def test_any_data_module_with_three_sets_of_rows_is_quantized(tmp_path: Path) -> None:
    outcome = dlrm_pl.quantize(module(), Rows(), tmp_path / "int8", settings=SETTINGS)
    assert outcome.certificate.rows == 900
    assert outcome.certificate.row_ranges["tuning"] == {"split": "val", "start": 64, "stop": 1264}
    assert dlrm_pl.load_artifact(tmp_path / "int8").certificate.accepted


def test_the_callback_takes_it_too(tmp_path: Path) -> None:
    callback = dlrm_pl.QuantizationCallback(str(tmp_path / "int8"), criterion=SETTINGS.criterion, max_trials=1)
    trainer = quiet_trainer(callbacks=[callback], max_epochs=1, enable_checkpointing=False)
    trainer.fit(module(), datamodule=Rows())
    assert callback.outcome is not None
    assert callback.outcome.certificate.rows == 900


def test_what_a_data_module_lacks_is_named_before_the_training(tmp_path: Path) -> None:
    class Others(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            raise AssertionError("the training began")

        def calibration_dataloader(self) -> Any:
            return []

    callback = dlrm_pl.QuantizationCallback(str(tmp_path / "int8"))
    trainer = quiet_trainer(callbacks=[callback], max_epochs=1, enable_checkpointing=False)
    with pytest.raises(ConfigurationError, match="Others, which has no tuning_dataloader, certification_dataloader"):
        trainer.fit(module(), datamodule=Others())


LABELLED = tiny.batches(1, 8, seed=6)[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tuning": iter([LABELLED])}, ConfigurationError, r"tuning_dataloader\(\) returned list_iterator, .* twice"),
        ({"tuning": 3}, ConfigurationError, r"tuning_dataloader\(\) returned int"),
        ({"calibration": [tuple(LABELLED)]}, ConfigurationError, "calibration_.* a batch of type tuple"),
        ({"tuning": [LABELLED._replace(labels=None)]}, ConfigurationError, "tuning_.* a batch without labels"),
        ({"certification": []}, DatasetError, r"certification_dataloader\(\) returned no rows"),
        ({"tuning": [LABELLED._replace(labels=torch.ones(8))]}, DatasetError, "All 8 labels of the tuning rows are 1"),
        ({"tuning": [LABELLED], "certification": [LABELLED]}, CalibrationError, "return the same rows"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RowSets.of_datamodule(Rows(**changes))


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 99])
def test_first_rows_are_those_of_all_rows(rows: int) -> None:
    batches = tiny.batches(2, 4, seed=1)
    first = list(FirstRows(batches, rows))
    whole = torch.cat([batch.dense for batch in batches])
    assert torch.equal(torch.cat([batch.dense for batch in first]), whole[:rows])
    assert all(isinstance(batch, ClickBatch) and batch.num_samples for batch in first)
