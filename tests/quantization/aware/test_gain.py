"""Where quantization loses most, a model trained with rounding loses less than one quantized afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dlrm_pl.data.synthetic.synthesize import synthesize

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_less_is_lost_than_by_quantization_after_training(tmp_path: Path) -> None:
    """The observer kl cuts off the tails of activations, by which a model with wide rows ranks its clicks."""
    synthesize(tmp_path / "data", rows=400_000)
    options = ["--data", tmp_path / "data", "--seeds", 2, "--dim", 64, "--recipe", '{"observer": "kl"}']
    ranges = ["--first-share", 0.7, "--observe-every", 1_000_000]
    command = [sys.executable, ROOT / "benchmarks" / "quantization_aware.py", *options, *ranges]
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, cwd=ROOT)
    means = json.loads(done.stdout.splitlines()[-1])["means"]
    assert means["post-training, drop in %"] > 0.2
    assert means["aware, drop in %"] < 0.5 * means["post-training, drop in %"]
