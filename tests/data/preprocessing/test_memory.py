"""Peak memory of preprocessing does not depend on the number of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.raw_logs import random_lines

CHILD = """
import re, sys
from pathlib import Path
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.preprocessing.options import PreprocessOptions
options = PreprocessOptions(workers=2, memory_bytes=16 << 20, randomize=sys.argv[3])
report = preprocess(Path(sys.argv[1]), Path(sys.argv[2]), options)
print(sum(report.rows_by_day), re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peak_kib(folder: Path, repeats: int, randomize: str) -> int:
    """Of a run over ``repeats`` times the same rows, so that the vocabulary is the same."""
    folder.mkdir()
    text = b"\n".join(random_lines(4000, 0)) + b"\n"
    for day in range(2):
        with (folder / f"day_{day}").open("wb") as handle:
            for _ in range(repeats):
                handle.write(text)
    command = [sys.executable, "-c", CHILD, str(folder / "day"), str(folder / "out"), randomize]
    rows, kib = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(rows) == 2 * 4000 * repeats
    return int(kib)


@pytest.mark.parametrize("randomize", ["total", "none"])
def test_ten_times_the_rows_take_the_same_memory(tmp_path: Path, randomize: str) -> None:
    small, large = (peak_kib(tmp_path / str(repeats), repeats, randomize) for repeats in (8, 80))
    assert large < 1.1 * small, f"{small} KiB for 64,000 rows, {large} KiB for 640,000"
