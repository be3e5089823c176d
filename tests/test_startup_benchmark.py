"""The benchmark of start-up, with few rows: it loads artifacts by names that the package may change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_small_artifact_is_loaded_and_scored() -> None:
    command = [sys.executable, "benchmarks/startup.py", "--scale", "0.0001", "--repeats", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["finite"] is True
