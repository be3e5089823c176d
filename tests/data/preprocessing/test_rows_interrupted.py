"""Killed runs over files with named columns resume and write the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.sources import source
from tests.support.logs.click_tables import shop_table, write_parquet
from tests.support.logs.raw_logs import contents
from tests.support.logs.row_logs import FEW, MANY
from tests.support.processes.killed_runs import killed_at_checkpoint

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write rows of three days, mixed in two files, with one bad row."""
    table = pa.concat_tables([shop_table(900, seed=day, day=day) for day in (1, 2, 3)])
    table = table.take(np.random.default_rng(0).permutation(len(table)))
    label = pa.array([None if row == 1700 else value for row, value in enumerate(table["clicked"].to_pylist())])
    table = table.set_column(0, "clicked", label)
    return write_parquet([table.slice(0, 1000), table.slice(1000)], tmp_path_factory.mktemp("raw") / "shop", 300)


@pytest.fixture
def expected(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The result of one uninterrupted run with few checkpoints."""
    monkeypatch.setattr(source, "CHUNK_ROWS", 256)
    preprocess(raw, tmp_path / "expected", FEW)
    return contents(tmp_path / "expected")


@pytest.mark.each_value
@pytest.mark.each_value
@pytest.mark.parametrize("number", [0, 1, 3, 5, 6])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_run_killed_at_a_checkpoint_goes_on_to_the_same_bytes(
    raw: Path, expected: dict[str, bytes], tmp_path: Path, number: int, before: bool
) -> None:
    with killed_at_checkpoint(number, before=before):
        preprocess(raw, tmp_path / "out", MANY)
    left = CheckpointFolder(tmp_path / "out")
    # A dying process may have written this after the checkpoint.
    for name in ("bucket_0", "last_day", "values_0.text", "values_2.ends", "values_3.i8"):
        if (left.path / name).exists():
            with (left.path / name).open("ab") as handle:
                handle.write(b"half a record")
    preprocess(raw, tmp_path / "out", MANY)
    assert contents(tmp_path / "out") == expected


CHILD = """
import sys
from pathlib import Path
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.sources import source
from tests.support.logs.row_logs import MANY
source.CHUNK_ROWS = 256
print("ready", flush=True)
preprocess(Path(sys.argv[1]), Path(sys.argv[2]), MANY)
"""


@pytest.mark.slow
def test_kill_9_at_random_points_and_the_same_command_again(
    raw: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    output, draw = tmp_path / "out", random.Random(os.urandom(4))
    command = [sys.executable, "-c", CHILD, str(raw), str(output)]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(draw.uniform(0.05, 0.4))
            child.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(output) == expected
