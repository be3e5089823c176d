"""``quantize --lpot_conf``: the file overrides the callback, and the command line overrides the file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.loading.split_loaders import CALIBRATION_ROWS
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.lpot.apply import apply_lpot_conf
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.workflow.config import QuantizationConfig
from tests.support.lpot import SEED
from tests.support.training import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LONGER = """
model: {name: dlrm, framework: pytorch}
quantization:
  calibration: {sampling_size: [100]}
  op_wise:
    emb_l.3: {weight: {dtype: [fp32]}}
    bot_l.0: {weight: {dtype: [fp32]}, activation: {dtype: [fp32]}}
tuning:
  accuracy_criterion: {relative: 90%}
  random_seed: 7
  tensorboard: true
  workspace: {path: work}
"""


def test_file_wins_over_the_callback_and_options_over_the_file(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    (tmp_path / "conf.yaml").write_text(SEED)
    callback = QuantizationCallback(
        str(tmp_path / "a"),
        criterion=Criterion(absolute=0.4, log_loss=0.4),
        recipe=RecipeStart(tables="fp16"),
        seed=3,
        max_trials=9,
    )
    before = callback.config
    outcome = quiet_trainer(callbacks=[callback]).quantize(
        module, data, lpot_conf=str(tmp_path / "conf.yaml"), relative=0.9, output=str(tmp_path / "b")
    )
    settings = json.loads((outcome.path / "result.json").read_text())["settings"]
    assert settings["criterion"]["relative"] == 0.9
    assert settings["criterion"]["absolute"] is None
    assert settings["criterion"]["log_loss"] == 0.4
    assert (settings["seed"], settings["max_trials"], settings["recipe"]["tables"]) == (9527, 100, "fp16")
    assert outcome.path == tmp_path / "b"
    assert outcome.certificate.seed == 9527
    assert callback.config is before
    assert before.tuning.criterion == Criterion(absolute=0.4, log_loss=0.4)
    assert (tmp_path / "conf.yaml").read_text() == SEED


def test_ops_rows_and_workspace_of_the_file(
    module: DLRMModule,
    data: DLRMDataModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("conf.yaml").write_text(LONGER)
    with caplog.at_level(logging.INFO, logger="dlrm_pl"):
        outcome = quiet_trainer().quantize(module, data, lpot_conf="conf.yaml")
    assert outcome.path == Path("work/int8")
    first = outcome.tuning.trials[0].recipe
    assert first.ops["tables.3"] == first.ops["bottom_mlp.0"] == "fp32"
    assert first.ops["tables.0"] == "int8"
    assert outcome.manifest.ops["tables.3"]["dtype"] == "fp32"
    assert outcome.certificate.row_ranges["calibration"] == {"split": "val", "start": 0, "stop": 100}
    assert outcome.certificate.row_ranges["tuning"]["start"] == 100
    assert data.calibration_rows == CALIBRATION_ROWS
    assert data.row_ranges["calibration"].stop == 200
    assert "conf.yaml: quantization.op_wise.emb_l.3: this op is called tables.3 here, and can be fp32" in caplog.text
    assert "conf.yaml: model dlrm, strategy basic, tolerated drop relative 0.9" in caplog.text
    assert "the Trainer has no logger" in caplog.text


def applied(path: Path, config: QuantizationConfig, module: DLRMModule) -> QuantizationConfig:
    return apply_lpot_conf(path, config, architecture=module.architecture)


def test_metric_says_itself_which_way_is_better_beside_a_file_that_does_not(module: DLRMModule, tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text(SEED)
    config = applied(tmp_path / "conf.yaml", QuantizationConfig(metric=MeanSquaredError()), module)
    assert config.tuning.criterion == Criterion(relative=0.01, higher_is_better=False)


def test_direction_of_an_eval_func_stays_where_the_file_says_nothing(module: DLRMModule, tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    lower = TuningSettings(criterion=Criterion(higher_is_better=False))
    config = QuantizationConfig(tuning=lower, eval_func=lambda model: 0.5)
    path.write_text(SEED)
    assert not applied(path, config, module).tuning.criterion.higher_is_better
    path.write_text(SEED.replace("relative: 0.01", "higher_is_better: true"))
    assert applied(path, config, module).tuning.criterion.higher_is_better


def test_metric_of_the_file_scores_unless_the_configuration_has_one(
    module: DLRMModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="dlrm_pl")
    path = tmp_path / "conf.yaml"
    path.write_text(SEED + "\nevaluation: {accuracy: {metric: {RMSE: {}}}}\n")
    config = applied(path, QuantizationConfig(), module)
    assert isinstance(config.metric, MeanSquaredError)
    assert not config.metric.squared
    assert not config.tuning.criterion.higher_is_better
    assert "trials are scored by MeanSquaredError, on all rows" in caplog.text
    own = MeanAbsoluteError()
    assert applied(path, QuantizationConfig(metric=own), module).metric is own
    assert "metric MeanSquaredError is ignored" in caplog.text


def test_rows_of_the_data_module_win_when_they_were_set(
    module: DLRMModule, synthetic_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "conf.yaml").write_text(LONGER)
    data = DLRMDataModule(str(synthetic_folder), batch_size=500, calibration_rows=50)
    with caplog.at_level(logging.INFO, logger="dlrm_pl"):
        outcome = quiet_trainer().quantize(
            module, data, lpot_conf=str(tmp_path / "conf.yaml"), output=str(tmp_path / "artifact")
        )
    assert outcome.certificate.row_ranges["calibration"]["stop"] == 50
    assert "sampling_size is ignored: data.calibration_rows=50 was given" in caplog.text


def test_wrong_file_is_refused_before_the_work(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text(LONGER.replace("emb_l.3", "emb_l.33"))
    with pytest.raises(ConfigurationError, match=r"emb_l\.33: matches no op\. Did you mean 'emb_l\.\d+'"):
        quiet_trainer().quantize(module, data, lpot_conf=str(tmp_path / "conf.yaml"), output=str(tmp_path / "artifact"))
    assert [path.name for path in tmp_path.iterdir()] == ["conf.yaml"]
