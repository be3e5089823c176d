"""Commands on several processes, started by Lightning and by torchrun, with the configuration of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dlrm_pl.model.load import load_checkpoint
from tests.support.processes.forked import forked_command
from tests.support.processes.sharded import needs_engine

pytestmark = [pytest.mark.long, needs_engine]

_CLI = str(Path(__file__).parents[2] / "cli.py")
_SHARDED = ("--trainer.strategy", "sharded", "--trainer.devices", "2")


@pytest.fixture(scope="module")
def config(few_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("launched") / "config.yaml"
    settings = {
        "model": {"embedding_dim": 8, "bottom_mlp": [0, 16, 8], "top_mlp": [16, 1]},
        "data": {"folder": str(few_tables), "batch_size": 64, "eval_batch_size": 333},
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": 20,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def _run(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command. A launcher starts programs; without one, the first process is a fork."""
    command = [sys.executable, *launcher, _CLI, *map(str, arguments)]
    if launcher:
        return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    process = forked_command(*arguments)
    output, errors = process.communicate(timeout=250)
    return subprocess.CompletedProcess(command, process.wait(0), output, errors)


def _trained(config: Path, folder: Path, *options: str, launcher: tuple[str, ...] = ()) -> Path:
    done = _run("fit", "-c", config, "--trainer.default_root_dir", folder, *options, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return folder / "checkpoints" / "epoch=0-step=20.ckpt"


@pytest.fixture(scope="module")
def checkpoint(config: Path) -> Path:
    """The result of a training on two processes started by Lightning."""
    return _trained(config, config.parent / "lightning", *_SHARDED)


@pytest.mark.slow
def test_fit_saves_a_checkpoint_that_predict_reads_on_one_process_and_on_two(config: Path, checkpoint: Path) -> None:
    found = []
    for name, options in (("one", ()), ("two", _SHARDED)):
        output = config.parent / f"{name}.npy"
        done = _run("predict", "-c", config, "--ckpt_path", checkpoint, "--output", output, "--json", *options)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["rows"] == 2000
        found.append(np.load(output))
    np.testing.assert_allclose(*found, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_wrong_option_is_told_once(config: Path, tmp_path: Path) -> None:
    options = (*_SHARDED, "--trainer.strategy.sharding", "row_wise", "--trainer.strategy.communication", "int8")
    done = _run("fit", "-c", config, "--trainer.default_root_dir", tmp_path, *options)
    assert done.returncode == 2
    assert done.stderr.count("error: communication=int8 cannot be used") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_trains_the_same_weights(config: Path, checkpoint: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    other = _trained(config, config.parent / "torchrun", *_SHARDED, launcher=launcher)
    expected = load_checkpoint(checkpoint)
    for name, weight in load_checkpoint(other).named_parameters():
        assert torch.equal(weight, expected.get_parameter(name)), name
    scores = []
    for options, by in ((_SHARDED, launcher), ((), ())):
        done = _run("test", "-c", config, "--ckpt_path", other, "--json", *options, launcher=by)
        assert done.returncode == 0, done.stderr
        scores.append(json.loads(done.stdout)["metrics"])
    assert scores[0] == pytest.approx(scores[1], rel=0, abs=1e-9)
