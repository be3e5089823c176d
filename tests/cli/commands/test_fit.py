"""`fit` as a user runs it: what it writes, and what it refuses before training."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from tests.support.commands import expect_error, run, write_config
from tests.support.processes.forked import forked_command, torchrun_environments

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]


def test_fit_trains_quantizes_and_certifies(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = json.loads((fitted / "artifact" / "certificate.json").read_text())
    assert certificate["accepted"]
    assert certificate["fp32"]["auroc"] > 0.55
    assert certificate["rows"] == 2000
    assert (fitted / "run" / "training.png").read_bytes().startswith(b"\x89PNG")
    report = (fitted / "artifact" / "report.html").read_text()
    assert "125 optimizer steps. AUROC on val: best " in report
    assert report.count("over the optimizer steps, between ") == 4  # Loss, AUROC, learning rate, speed.
    assert run("inspect", fitted / "artifact") == 0
    assert run("inspect", fitted / "run" / "model.ckpt") == 0
    text = capsys.readouterr().out
    assert "accepted" in text
    assert re.search(r"^bottom MLP +13-16-8$", text, re.MULTILINE)


@pytest.mark.slow
def test_two_ranks_train_the_model_that_one_trains(synthetic_folder: Path, tmp_path: Path) -> None:
    states = []
    for ranks in (1, 2):
        (folder := tmp_path / str(ranks)).mkdir()
        config = write_config(folder, synthetic_folder)
        fit = ["fit", "-c", config, "--data.shuffle", "none", "--data.batch_size", str(64 // ranks)]
        fit += ["--trainer.limit_train_batches", "25"]  # Not all 125: a second process is slow on a busy machine.
        if ranks == 1:  # Trained in this process, which knows of no other ranks.
            assert run(*fit) == 0
        else:
            fit += ["--trainer.devices", str(ranks), "--trainer.strategy", "ddp"]
            processes = [forked_command(*fit, environment=one) for one in torchrun_environments(ranks)]
            for process in processes:
                assert process.wait(timeout=250) == 0, process.errors()
        assert run("verify", "--artifact", folder / "artifact", "--data", synthetic_folder) == 0
        assert [path.name for path in (folder / "run").glob("*.png")] == ["training.png"]  # Only one.
        states.append(torch.load(folder / "run" / "model.ckpt", weights_only=True)["state_dict"])
    for name, weight in states[0].items():
        torch.testing.assert_close(states[1][name], weight, msg=lambda text, name=name: f"{name}: {text}")


def test_print_config_shows_the_whole_run(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", "-c", fitted / "config.yaml", "--print_config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["embedding_dim"] == 8
    assert printed["trainer"]["use_distributed_sampler"] is False


def test_loss_that_is_no_number(capsys: pytest.CaptureFixture[str], synthetic_folder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, synthetic_folder)
    expect_error(capsys, r"loss .*(NaN|infinite)", "fit", "-c", config, "--model.learning_rate", 1e30)
    assert not (tmp_path / "artifact").exists()


def test_fit_learns_of_a_bad_output_before_it_trains(
    capsys: pytest.CaptureFixture[str], synthetic_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "notes.txt").write_text("keep")
    expect_error(capsys, "artifact: holds files", "fit", "-c", write_config(tmp_path, synthetic_folder))
    assert not (tmp_path / "run" / "model.ckpt").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--trainer.val_check_interval", 100_000, r"\(100000\).* the training batches \(125\)\. Give --trainer"),
        ("--data.num_workers", -1, "data.num_workers=-1 must be 0"),
        ("--ckpt_path", "best", "'best': no such checkpoint: .* has not saved one yet"),
    ],
)
def test_errors_that_lightning_does_not_report(
    capsys: pytest.CaptureFixture[str], fitted: Path, option: str, value: object, message: str
) -> None:
    expect_error(capsys, message, "fit", "-c", fitted / "config.yaml", "--overwrite", option, value)


@pytest.mark.untraced
def test_other_commands_leave_the_configuration_and_the_log_of_fit_alone(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    config["trainer"] |= {
        "logger": {
            "class_path": "pytorch_lightning.loggers.CSVLogger",
            "init_args": {"save_dir": str(tmp_path), "name": "log"},
        },
        "callbacks": config["trainer"]["callbacks"][:1],
    }
    config["trainer"]["callbacks"][0]["init_args"]["dirpath"] = str(tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert run("fit", "-c", tmp_path / "c.yaml") == 0
    assert sum("training curves: " in message for message in caplog.messages) == 1
    assert "training curves" not in capsys.readouterr().out, "the log has said it"
    folder = tmp_path / "log" / "version_0"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"config.yaml", "metrics.csv", "training.png"} <= set(before)
    for command in ("validate", "test"):
        assert run(command, "-c", tmp_path / "c.yaml", "--ckpt_path", tmp_path / "model.ckpt") == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.parent.name for path in (tmp_path / "log").rglob("config.yaml")] == ["version_0"]
    # The saved configuration is a complete run configuration, without permission to replace anything.
    assert "overwrite" not in yaml.safe_load(before["config.yaml"])
    assert run("fit", "-c", folder / "config.yaml", "--trainer.max_epochs", 0, "--overwrite") == 0


def test_configuration_that_cannot_be_saved(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    root = ("--trainer.default_root_dir", tmp_path / "file" / "below")
    expect_error(capsys, r"config\.yaml: cannot be written", "fit", "-c", fitted / "config.yaml", *root, "--overwrite")
