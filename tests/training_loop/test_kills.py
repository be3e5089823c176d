"""A training that is repeatedly killed with -9 ends with the same bits as one that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes.forked import Forked

# Engines, optimizers, precisions, orders, workers; in the middle of an epoch, of an accumulation, or of a write.
TRAININGS: list[dict[str, Any]] = [
    {"engine": "native", "optimizer": "adagrad", "shuffle": "row"},
    {"engine": "native", "asynchronous": True, "accumulate": 3, "by_time": True},
    {"precision": "bf16-mixed", "shuffle": "none"},
    {"engine": "native", "optimizer": "adagrad", "asynchronous": True, "shuffle": "row", "num_workers": 2},
    {"accumulate": 4, "by_time": True, "optimizer": "rwsadagrad", "dense_optimizer": "adam"},
    {"engine": "native", "num_workers": 1, "asynchronous": True, "precision": "bf16-mixed"},
    {"engine": "native", "hooks": False, "asynchronous": True, "optimizer": "rwsadagrad", "batches": 90},
    {"engine": "native", "hooks": False, "shuffle": "row", "accumulate": 2, "dense_optimizer": "adam", "batches": 90},
    {"asynchronous": True, "accumulate": 5, "shuffle": "row", "epochs": 3, "dense_optimizer": "lamb"},
    {"engine": "native", "by_time": True, "asynchronous": True, "precision": "bf16-mixed", "dense_optimizer": "lamb"},
]

_PROGRAM = """
import runpy, warnings
warnings.simplefilter("ignore")
runpy.run_module("tests.support.processes.killed_trainings", run_name="__main__")
"""


def kill(trainings: list[dict[str, Any]], data: Path, folder: Path) -> int:
    """Run the trainings in a separate program; return how often one was killed."""
    program = Forked(_PROGRAM, [data, folder, json.dumps(trainings)])
    assert program.wait(timeout=280) == 0, program.errors()[-4000:]
    return int(program.output().split()[-1])


@pytest.mark.untraced
def test_training_that_is_killed_twice(synthetic_folder: Path, tmp_path: Path) -> None:
    training = TRAININGS[1] | {"optimizer": "adagrad", "shuffle": "row", "kills": 2, "batches": 12}
    assert kill([training], synthetic_folder, tmp_path) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(TRAININGS)))
def test_ten_kills(number: int, synthetic_folder: Path, tmp_path: Path) -> None:
    assert kill([TRAININGS[number] | {"kills": 13}], synthetic_folder, tmp_path) >= 10
