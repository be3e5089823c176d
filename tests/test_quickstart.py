"""The whole quick start as a user runs it. This takes minutes, so `make test-slow` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / arguments[0]), *arguments[1:]]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_quick_start_reaches_its_stated_results_and_repeats_them(tmp_path: Path) -> None:
    certificates = []
    for _ in range(2):
        run(tmp_path, "cli.py", "synthesize", "--output", "datasets/quickstart")
        run(tmp_path, "cli.py", "fit", "-c", str(ROOT / "configs/experiment/quickstart.yaml"))
        certificates.append(json.loads((tmp_path / "artifacts/quickstart/certificate.json").read_text()))
    first, second = certificates
    assert f"{first['fp32']['auroc']:.6f}" == f"{second['fp32']['auroc']:.6f}"
    assert f"{first['int8']['auroc']:.6f}" == f"{second['int8']['auroc']:.6f}"
    assert first["accepted"]
    assert first["auroc_drop_relative"] <= 0.001
    assert 0.78 < first["best_possible_auroc"] < 0.84
    assert first["fp32"]["auroc"] > first["best_possible_auroc"] - 0.03

    linear = run(tmp_path, "benchmarks/linear_baseline.py", "--data", "datasets/quickstart").splitlines()[-1]
    assert first["fp32"]["auroc"] > json.loads(linear)["chosen"]["test_auroc"] + 0.02

    verified = run(
        tmp_path,
        *("cli.py", "verify", "--artifact", "artifacts/quickstart", "--data", "datasets/quickstart"),
        *("--ckpt_path", "runs/quickstart/model.ckpt"),
    )
    assert "re-measured: AUROC drop" in verified
