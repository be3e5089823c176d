"""`:::MLLOG` lines of short runs."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from dlrm_pl.callbacks.mlperf_logging import MLPerfLogging
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.trainer import DLRMTrainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Climber(pl.LightningModule):
    """A module whose val AUROC rises by 0.1 at every evaluation."""

    def __init__(self, fail_at: int = -1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.hparams.update(optimizer="sgd", learning_rate=1.0, lr_num_warmup_steps=7)
        self.weight = nn.Parameter(torch.zeros(()))
        self.auroc = 0.6

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if batch_idx == self.hparams["fail_at"]:
            raise KeyboardInterrupt
        return self.weight * batch.sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        self.auroc += 0.1
        self.log("val_auroc", self.auroc)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(callback: MLPerfLogging, module: pl.LightningModule | None = None, epochs: int = 2) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        val_check_interval=2,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    rows = torch.utils.data.DataLoader(torch.ones(4))  # type: ignore[arg-type,var-annotated]
    trainer.fit(module or Climber(), rows, rows)


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text().splitlines()
    assert all(line.startswith(":::MLLOG ") for line in text)
    return [json.loads(line.removeprefix(":::MLLOG ")) for line in text]


def test_events_come_in_the_order_of_the_rules(tmp_path: Path) -> None:
    fit(MLPerfLogging(str(tmp_path / "log")), epochs=1)
    keys = [line["key"] for line in lines(tmp_path / "log")]
    order = ["cache_clear", "init_start", "submission_benchmark", "init_stop", "run_start", "epoch_start"]
    evaluation = ["eval_start", "eval_accuracy", "eval_stop"]
    wanted = [*order, *evaluation, *evaluation, "epoch_stop", "run_stop"]
    assert [key for key in keys if key in wanted] == wanted


def test_evaluations_state_auroc_and_fraction_of_epochs(tmp_path: Path) -> None:
    fit(MLPerfLogging(str(tmp_path / "log")), epochs=1)
    found = [line for line in lines(tmp_path / "log") if line["key"] == "eval_accuracy"]
    # The sanity check took the first step of the climb and is not part of the run.
    assert [line["value"] for line in found] == pytest.approx([0.8, 0.9])
    assert [line["metadata"]["epoch_num"] for line in found] == [0.5, 1.0]


@pytest.mark.parametrize(("threshold", "status"), [(0.75, "success"), (0.95, "aborted")])
def test_status_says_whether_the_threshold_was_passed(tmp_path: Path, threshold: float, status: str) -> None:
    fit(MLPerfLogging(str(tmp_path / "log"), auroc_threshold=threshold), epochs=1)
    assert lines(tmp_path / "log")[-1]["metadata"]["status"] == status


def test_hyperparameters_are_stated(tmp_path: Path) -> None:
    fit(MLPerfLogging(str(tmp_path / "log"), org="us"))
    values = {line["key"]: line["value"] for line in lines(tmp_path / "log")}
    assert values["opt_base_learning_rate"] == 1.0
    assert values["opt_learning_rate_warmup_steps"] == 7
    assert values["submission_org"] == "us"


def test_interrupted_run_is_aborted_in_its_log(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(MLPerfLogging(str(tmp_path / "log")), Climber(fail_at=1))
    last = lines(tmp_path / "log")[-1]
    assert (last["key"], last["metadata"]["status"]) == ("run_stop", "aborted")


def test_second_run_begins_the_file_anew_without_doubled_lines(tmp_path: Path) -> None:
    callback = MLPerfLogging(str(tmp_path / "log"))
    fit(callback)
    once = [line["key"] for line in lines(tmp_path / "log")]
    fit(callback)
    assert [line["key"] for line in lines(tmp_path / "log")] == once


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("mlperf_logging"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"dlrm-pl\[mlperf\]"):
        MLPerfLogging()


def test_lines_name_the_hook_that_wrote_them(tmp_path: Path) -> None:
    fit(MLPerfLogging(str(tmp_path / "log")), epochs=1)
    assert {line["metadata"]["file"] for line in lines(tmp_path / "log")} == {"dlrm_pl/callbacks/mlperf_logging.py"}


def test_full_disk_stops_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        fit(MLPerfLogging("/dev/full"))
    assert caught.value.filename == "/dev/full"
    assert "Logging error" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Path:
    """Return the log of a DLRM with as many layers as MLPerf's."""
    pl.seed_everything(123)
    path = tmp_path_factory.mktemp("mllog") / "mlperf.log"
    data = DLRMDataModule(str(synthetic_folder), batch_size=500, seed=7)
    model = DLRMModule(
        data.table_sizes, 4, (13, 8, 8, 4), (8, 8, 8, 8, 1), learning_rate=0.5, lr_num_warmup_steps=2,
        lr_decay_start_step=3, lr_num_decay_steps=4,
    )  # fmt: skip
    trainer = DLRMTrainer(
        accelerator="cpu", max_epochs=1, accumulate_grad_batches=2, callbacks=[MLPerfLogging(str(path))],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return path


def complaints(path: Path, division: str, rules: str = "2.1.0") -> list[str]:
    """Return what MLPerf's own checker reports, with warnings; the default rules are the last ones for DLRM."""
    from mlperf_logging.compliance_checker.mlp_compliance import make_checker

    checker = make_checker("training", rules, quiet=False, werror=True)
    checker.check_file(str(path), f"training_{rules}/common.yaml")
    assert f'"submission_division", "value": "{division}"' in path.read_text()
    return [*checker.overwritable.values(), *checker.not_overwritable]


def test_log_of_a_run_passes_the_checker_of_mlperf_but_for_its_auroc(real: Path, tmp_path: Path) -> None:
    assert complaints(real, "closed") == ["Failed checks for eval_accuracy : v['value'] >= 0.8025 and v['value'] < 1.0"]
    reached = [
        line.replace(f'"value": {json.loads(line.removeprefix(":::MLLOG "))["value"]}', '"value": 0.8026')
        if '"key": "eval_accuracy"' in line
        else line
        for line in real.read_text().splitlines()
    ]
    (tmp_path / "reached.log").write_text("\n".join(reached))
    assert complaints(tmp_path / "reached.log", "closed") == []
    (tmp_path / "open.log").write_text(real.read_text().replace('"value": "closed"', '"value": "open"'))
    assert complaints(tmp_path / "open.log", "open") == []


def test_log_of_version_2_passes_the_checker_but_for_its_rows_and_its_auroc(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    pl.seed_everything(123)
    data = DLRMDataModule(str(synthetic_folder), batch_size=500, seed=7)
    model = DLRMModule(
        data.table_sizes, 4, (13, 4), (8, 1), interaction="dcn", cross_layers=1, cross_rank=2,
        optimizer="adagrad", learning_rate=0.005, epsilon=1e-8,
    )  # fmt: skip
    trainer = DLRMTrainer(
        accelerator="cpu", max_epochs=1, callbacks=[MLPerfLogging(str(tmp_path / "log"), auroc_threshold=0.80275)],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    found = complaints(tmp_path / "log", "closed", "6.0.0")
    assert len(found) == 2
    assert any("eval_accuracy : v['value'] >= 0.80275" in complaint for complaint in found)
    assert any("'eval_samples'" in complaint and "v['value'] == 89137319" in complaint for complaint in found)
    values = {line["key"]: line["value"] for line in lines(tmp_path / "log")}
    assert (values["submission_benchmark"], values["opt_adagrad_epsilon"]) == ("dlrm_dcnv2", 1e-8)


def test_facts_are_those_of_the_run(real: Path) -> None:
    found = [(line["key"], line["value"]) for line in lines(real)]
    for fact in [
        *(("seed", 123), ("global_batch_size", 1000), ("gradient_accumulation_steps", 2), ("train_samples", 8000)),
        *(("opt_name", "sgd"), ("sgd_opt_base_learning_rate", 0.5), ("sgd_opt_learning_rate_decay_steps", 4)),
        *(("opt_learning_rate_warmup_steps", 2), ("lr_decay_start_steps", 3)),
    ]:
        assert found.count(fact) == 1


def test_another_optimizer_is_not_said_to_be_sgd(tmp_path: Path) -> None:
    module = Climber()
    module.hparams.update(optimizer="adagrad")
    fit(MLPerfLogging(str(tmp_path / "log")), module)
    assert not any(line["key"].startswith("sgd_") for line in lines(tmp_path / "log"))
