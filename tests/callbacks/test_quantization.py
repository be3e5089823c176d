"""The callback: how it changes the module, and when it does nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics import MeanSquaredError

from dlrm_pl.artifact.summary import drop_line
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats import binary_format
from dlrm_pl.data.formats.binary_format import LABEL, RECORD_DTYPE, Split, single_label, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import describe
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError, DatasetError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.row_sets import RowSets
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice
from dlrm_pl.quantization.judging.slices.worst_slice import SliceReading
from dlrm_pl.quantization.search.objective import Latency
from dlrm_pl.quantization.search.space import SpaceSettings
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.workflow.quantize import quantize_module
from tests.support.training import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def callback(folder: Path) -> QuantizationCallback:
    return QuantizationCallback(str(folder / "artifact"), criterion=Criterion(relative=0.5))


def test_module_comes_back_as_it_was(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    module.train()
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    outcome = quantize_module(module, data, callback(tmp_path).config)
    assert module.training
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)
    assert set(outcome.tuning.model.op_dtypes.values()) == {"int8"}


def test_search_knows_which_rows_it_reads(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(model: DLRM, rows: RowSets, *arguments: object, **options: object) -> Outcome:
        assert rows.row_identities == data.row_identities()
        raise KeyboardInterrupt

    monkeypatch.setattr("dlrm_pl.workflow.quantize_model.build_artifact", built)
    with pytest.raises(KeyboardInterrupt):
        quantize_module(module, data, callback(tmp_path).config)


@pytest.mark.untraced
def test_fit_ends_in_an_artifact(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    quantizing = callback(tmp_path)
    quiet_trainer(callbacks=[quantizing], max_epochs=1, enable_checkpointing=False).fit(module, datamodule=data)
    assert quantizing.outcome is not None
    assert quantizing.outcome.path == tmp_path / "artifact"
    assert (tmp_path / "artifact" / "manifest.json").is_file()


def test_trial_run_of_lightning_makes_no_artifact(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    quantizing = callback(tmp_path)
    quiet_trainer(callbacks=[quantizing], max_epochs=1, fast_dev_run=True).fit(module, datamodule=data)
    assert quantizing.outcome is None
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_kind_is_refused(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    loader = data.val_dataloader()
    with pytest.raises(ConfigurationError, match=r"needs a data module with calibration, .* got no data module"):
        quiet_trainer(callbacks=[callback(tmp_path)], max_epochs=1, enable_checkpointing=False).fit(
            module, loader, loader
        )


def test_any_metric_can_be_the_score_and_says_itself_which_way_is_better(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    quantizing = QuantizationCallback(
        str(tmp_path / "a"), criterion=Criterion(absolute=0.05), metric=MeanSquaredError()
    )
    assert not quantizing.config.tuning.criterion.higher_is_better
    outcome = quantize_module(module, data, quantizing.config)
    assert outcome.tuning.accepted
    assert "this score has no paired test" in outcome.tuning.reason
    assert outcome.tuning.best.rows == 1800
    assert outcome.tuning.baseline.value < 0.5


def test_lower_is_better_without_a_score_of_ones_own_is_refused_before_training(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    quantizing = QuantizationCallback(str(tmp_path / "a"), criterion=Criterion(higher_is_better=False))
    with pytest.raises(ConfigurationError, match="higher_is_better: false contradicts AUROC"):
        quiet_trainer(callbacks=[quantizing], max_epochs=1, enable_checkpointing=False).fit(module, datamodule=data)
    assert module.trainer.global_step == 0


def test_drop_of_auroc_is_not_held_against_the_tolerance_of_another_score(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    quantizing = QuantizationCallback(
        str(tmp_path / "a"), criterion=Criterion(absolute=0.05), metric=MeanSquaredError()
    )
    line = drop_line(quantize_module(module, data, quantizing.config).certificate)
    assert "not judged: trials were scored by MeanSquaredError" in line
    assert "tolerance" not in line


def test_two_scores_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="metric MeanSquaredError are mutually exclusive"):
        QuantizationCallback(eval_func=lambda model: 0.5, metric=MeanSquaredError())


def test_latency_is_measured_when_the_objective_counts_it(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Timer:
        def __init__(self, model: object, batches: object) -> None:
            pass

        def __call__(self, model: object) -> Latency:
            return Latency(3.0, 2.0, 1.0)

    monkeypatch.setattr("dlrm_pl.workflow.quantize_model.InterleavedTimer", Timer)
    quantizing = QuantizationCallback(str(tmp_path / "a"), criterion=Criterion(relative=0.5), objective="latency")
    best = quantize_module(module, data, quantizing.config).tuning.best
    assert best.latency == Latency(3.0, 2.0, 1.0)
    assert best.cost == pytest.approx(2 / 3)


def test_op_that_does_not_exist_stops_before_the_training(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    quantizing = QuantizationCallback(str(tmp_path / "a"), space=SpaceSettings(ops={"top_mlp.9": ["fp32"]}))
    steps: list[object] = []
    module.training_step = lambda *args: steps.append(args)  # type: ignore[assignment, method-assign, misc]
    with pytest.raises(ConfigurationError, match=r"no op 'top_mlp\.9'"):
        quiet_trainer(callbacks=[quantizing], max_epochs=1, enable_checkpointing=False).fit(module, datamodule=data)
    assert steps == []


def test_slice_of_a_table_that_does_not_exist_stops_before_the_training(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    guarded = Criterion(relative=0.5, worst_slice=WorstSlice(by="tables.40"))
    quantizing = QuantizationCallback(str(tmp_path / "a"), criterion=guarded)
    steps: list[object] = []
    module.training_step = lambda *args: steps.append(args)  # type: ignore[assignment, method-assign, misc]
    with pytest.raises(ConfigurationError, match=r"by='tables\.40': this model has only 26 tables"):
        quiet_trainer(callbacks=[quantizing], max_epochs=1, enable_checkpointing=False).fit(module, datamodule=data)
    assert steps == []
    with pytest.raises(ConfigurationError, match=r"worst_slice by 'C9' needs the probability of each row"):
        QuantizationCallback(criterion=Criterion(worst_slice=WorstSlice(by="C9")), eval_func=lambda model: 0.5)


@pytest.mark.untraced
@pytest.mark.parametrize("by", ["C9", "I4"])
def test_worst_slice_is_in_the_trials_of_the_artifact(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path, by: str
) -> None:
    guarded = Criterion(relative=0.5, worst_slice=WorstSlice(by=by, tolerance=0.5, slices=3))
    outcome = quantize_module(module, data, QuantizationCallback(str(tmp_path / "a"), criterion=guarded).config)
    (line,) = (outcome.path / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    best = outcome.tuning.best
    assert best.verdict is not None
    assert Trial.from_dict(json.loads(line)).verdict.guards == best.verdict.guards  # type: ignore[union-attr]
    found = best.verdict.guards[-1]
    assert found.name == "worst_slice"
    assert isinstance(found, SliceReading)
    assert by in found.slice
    assert found.slices + found.too_small >= 2


def without_clicks(folder: Path, split: Split, start: int, stop: int | None) -> DLRMDataModule:
    """Return the dataset with the labels of some rows set to 0 and a new description."""
    path = folder / split_file_name(split)
    records = np.fromfile(path, RECORD_DTYPE).reshape(-1, Columns.criteo().record_ints)
    records[start:stop, LABEL] = 0
    records.tofile(path)
    describe(folder, max_ind_range=DatasetFolder.open(folder).max_ind_range, created_by="test")
    return DLRMDataModule(str(folder), batch_size=500)


TEST_ROWS = r"all 2000 labels of the test split are 0, so AUROC is undefined"
TUNING_ROWS = r"all 1,800 labels of the tuning rows \(200 to 2,000 of val\) are 0, so AUROC is undefined"


@pytest.mark.parametrize(
    ("split", "start", "message"), [("test", 0, TEST_ROWS), ("val", 200, TUNING_ROWS)], ids=["test", "tuning"]
)
@pytest.mark.parametrize("way", ["fit", "quantize"])
def test_rows_without_clicks_are_refused_before_training_and_search(
    way: str, split: Split, start: int, message: str, dataset_copy: Path, module: DLRMModule, tmp_path: Path
) -> None:
    data = without_clicks(dataset_copy, split, start, None)
    made = quiet_trainer(callbacks=[callback(tmp_path)], max_epochs=1)
    with pytest.raises(DatasetError, match=message):
        made.fit(module, datamodule=data) if way == "fit" else made.quantize(module, data)
    assert made.global_step == 0
    assert not (tmp_path / "artifact").exists()


def test_only_the_rows_that_are_scored_need_clicks(dataset_copy: Path) -> None:
    """Calibration reads no labels, ``max_rows`` limits the tuning rows, and an eval_func has rows of its own."""
    data = without_clicks(dataset_copy, "val", 0, 300)
    data.require_quantizable(tuning=True, max_rows=None)
    with pytest.raises(DatasetError, match=r"all 100 labels of the tuning rows \(200 to 300 of val\)"):
        data.require_quantizable(tuning=True, max_rows=100)
    data.require_quantizable(tuning=False, max_rows=100)


def test_labels_are_read_until_both_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_format, "_LABEL_BLOCK", 4)
    records = np.zeros((11, Columns.criteo().record_ints), RECORD_DTYPE)
    records[9, LABEL] = 1
    records.tofile(tmp_path / "rows.bin")
    found = {(start, stop): single_label(tmp_path / "rows.bin", start, stop) for start, stop in RANGES}
    assert found == RANGES


RANGES = {(0, 11): None, (0, 9): 0, (9, 10): 1, (8, 11): None, (10, 11): 0, (3, 3): None}
