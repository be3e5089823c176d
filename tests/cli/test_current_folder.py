"""Commands leave nothing in the current folder except what they are asked to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import run

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
TINY = ["--model.embedding_dim", "4", "--model.bottom_mlp", "[13,4]", "--model.top_mlp", "[1]"]
SHORT = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.num_sanity_val_steps", "0"]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "validate -c CONFIG --ckpt_path CKPT",
        "validate --data.folder DATA --ckpt_path CKPT",
        "test --data.folder DATA --ckpt_path CKPT",
        "test -c csv.yaml --data.folder DATA --ckpt_path CKPT",
        "predict --data.folder DATA --ckpt_path CKPT --output OUT/p.csv",
        "quantize --data.folder DATA --ckpt_path CKPT --output OUT/int8 --relative 0.5 --data.calibration_rows 500",
        "fit -c CONFIG --print_config",
        "fit --help",
        "inspect ARTIFACT",
        "verify --artifact ARTIFACT --data DATA",
        "predict --artifact ARTIFACT --data DATA --output OUT/q.csv",
        "configs list",
        "synthesize --output OUT/data --rows 100",
    ],
)
def test_commands_that_only_read_leave_nothing(command: str, empty: Path, fitted: Path, synthetic_folder: Path) -> None:
    (empty.parent / "csv.yaml").write_text(
        "trainer: {logger: {class_path: pytorch_lightning.loggers.CSVLogger, init_args: {save_dir: runs}}}"
    )
    places = {
        "CONFIG": fitted / "config.yaml",
        "CKPT": fitted / "run" / "model.ckpt",
        "DATA": synthetic_folder,
        "ARTIFACT": fitted / "artifact",
        "OUT": empty.parent,
        "csv.yaml": empty.parent / "csv.yaml",
    }
    for place, path in places.items():
        command = command.replace(place, str(path))
    assert run(*command.split()) in (0, 4)
    assert list(empty.iterdir()) == []


@pytest.mark.untraced
def test_fit_writes_below_one_folder(empty: Path, synthetic_folder: Path) -> None:
    assert run("fit", "--data.folder", synthetic_folder, *TINY, *SHORT) == 0
    assert [path.name for path in empty.iterdir()] == ["runs"]
    written = {path.relative_to(empty).as_posix() for path in empty.rglob("*") if path.is_file()}
    assert any(path.endswith("/config.yaml") for path in written)
    assert any(path.endswith(".ckpt") for path in written)
    assert run("fit", "--data.folder", synthetic_folder, *TINY, *SHORT, "--trainer.logger", "false") == 0
    assert [path.name for path in empty.iterdir()] == ["runs"]
    assert (empty / "runs" / "config.yaml").is_file()
    assert run("fit", "--data.folder", synthetic_folder, *TINY, *SHORT, "--trainer.default_root_dir", "mine") == 0
    assert sorted(path.name for path in empty.iterdir()) == ["mine", "runs"]


def test_logger_that_is_asked_for_is_kept(empty: Path, fitted: Path, synthetic_folder: Path) -> None:
    options = ("--data.folder", synthetic_folder, "--ckpt_path", fitted / "run" / "model.ckpt")
    assert run("test", *options, "--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs") == 0
    assert [path.name for path in empty.iterdir()] == ["logs"]
