"""Peak memory of preprocessing does not depend on the number of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from tests.support.logs.raw_logs import random_lines

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
    """Return the peak of a run over the same rows ``repeats`` times, so that the vocabulary is the same."""
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


@pytest.mark.parametrize("randomize", ["total", pytest.param("none", marks=pytest.mark.slow)])
def test_ten_times_the_rows_take_the_same_memory(tmp_path: Path, randomize: str) -> None:
    small, large = (peak_kib(tmp_path / str(repeats), repeats, randomize) for repeats in (8, 80))
    assert large < 1.1 * small, f"{small} KiB for 64,000 rows, {large} KiB for 640,000"


TABLES = """
import re, sys
from pathlib import Path
from dlrm_pl import Columns, DenseColumn, PreprocessOptions, SparseColumn, preprocess
wide = [SparseColumn(name=name, kind="integer", at_most=64) for name in ("items", "tags")]
columns = Columns("click", [DenseColumn(name="age")], wide if sys.argv[3] == "lists" else [SparseColumn(name="page")])
options = PreprocessOptions(columns=columns, split_by="rows", days=2, workers=2, memory_bytes=64 << 20)
preprocess(sys.argv[1], sys.argv[2], options)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def table_of(kind: str, rows: int) -> pa.Table:
    """Make rows with strings of 2 kB, or with two lists of 64 elements."""
    rng = np.random.default_rng(0)
    table = {"click": rng.integers(0, 2, rows), "age": rng.integers(0, 99, rows)}
    if kind == "texts":
        texts = pa.array([f"{number:05}" * 400 for number in range(300)])
        return pa.table({**table, "page": texts.take(pa.array(rng.integers(0, 300, rows)))})
    ends = pa.array(np.arange(0, 64 * rows + 1, 64, dtype=np.int32))
    lists = {
        name: pa.ListArray.from_arrays(ends, pa.array(rng.integers(0, 5000, 64 * rows))) for name in ("items", "tags")
    }
    return pa.table({**table, **lists})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["texts", "lists"])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_memory_of_long_texts_and_wide_lists_is_bounded(tmp_path: Path, kind: str, suffix: str) -> None:
    if (kind, suffix) == ("lists", "csv"):
        pytest.skip("CSV has no lists.")
    peaks = []
    for rows in (200, 100_000):
        path, table = tmp_path / f"{rows}.{suffix}", table_of(kind, rows)
        if suffix == "parquet":
            pa.parquet.write_table(table, path)
        elif suffix == "csv":
            pa.csv.write_csv(table, path)
        else:
            pa.feather.write_feather(table, str(path), chunksize=10_000)
        command = [sys.executable, "-c", TABLES, str(path), str(tmp_path / f"out_{rows}"), kind]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024)
    small, large = peaks
    # More than the budget, because allocators keep used memory. Before chunks were limited by size it was 500 MiB.
    assert large - small < 4 * 64, f"{small:.0f} MiB for 200 rows, {large:.0f} MiB for 100,000"
