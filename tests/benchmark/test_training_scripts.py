"""The scripts that measure training, on small inputs. They take minutes, so `make test-slow` runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.data.synthetic.synthesize import synthesize
from dlrm_pl.kernels.training.selection import level_in_use

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(level_in_use("fp32") is None, reason="native training code was not built"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicks") / "data"
    synthesize(folder, rows=200_000)
    return folder


def last_line(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_speeds_of_all_engines_and_of_fit(data: Path) -> None:
    short = ("--rounds", 1, "--fit-rows", 25_600, "--fit-repeats", 1, "--threads", 1)
    shape = ("--shapes", "quickstart", "--batch-sizes", 128, "--quickstart-data", data)
    found = last_line("benchmarks/training.py", *shape, *short)
    speeds = found["samples_per_s"]["quickstart"]["128"]["1"]
    assert {name for name, speed in speeds.items() if speed} == {
        *("torch_fp32", "torch_bf16", "native_fp32", "native_bf16", "fit"),
    }
    assert speeds["native_fp32"] > speeds["torch_fp32"]
    assert found["x_reference"]["quickstart"]["128"]["1"]["native_fp32"] is None


def test_engines_reach_the_same_auroc(data: Path) -> None:
    contenders = ("--contenders", "torch_fp32", "native_fp32", "native_bf16")
    found = last_line("benchmarks/training_auroc.py", "--data", data, "--seeds", 2, "--threads", 1, *contenders)
    assert set(found["aurocs"]["native_bf16"]) == {"1", "2"}
    # With so few rows, runs that differ by rounding diverge by 0.004, means of two by 0.003 (standard deviations).
    assert all(abs(one["mean"]) < 0.012 for one in found["differences"].values()), found
