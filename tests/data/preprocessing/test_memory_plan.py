"""A run never takes more memory than it states, for any number of days and workers."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.plan import allow_files
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import ConfigurationError
from tests.support.logs.raw_logs import random_lines, read, write_days

CHILD = """
import re, sys
from pathlib import Path
from dlrm_pl.data.preprocessing.logs import log
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
real, plans = log.make_plan, []
log.make_plan = lambda *arguments: plans.append(real(*arguments)) or plans[0]
options = PreprocessOptions(workers=int(sys.argv[3]), memory_bytes=int(sys.argv[4]) << 20, randomize=sys.argv[5])
preprocess(Path(sys.argv[1]), Path(sys.argv[2]), options)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(plans[0].memory_bytes, plans[0].program_bytes, int(peak) << 10)
"""


def test_more_files_than_a_process_may_open_are_refused_with_the_options_to_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    with pytest.raises(ConfigurationError, match=r"^1000 buckets .* 100 files .*Raise --memory, use fewer --threads"):
        allow_files(1000)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same number of rows in a few days and in many."""
    folder = tmp_path_factory.mktemp("logs")
    lines = random_lines(4000, 0)
    return {
        4: write_days(folder / "few", [lines * 40] * 4),
        500: write_days(folder / "many", [lines[:1300]] * 500),
    }


@pytest.mark.slow
@pytest.mark.parametrize("randomize", ["total", "day", "none"])
@pytest.mark.parametrize("memory", [16, 64, 256])
@pytest.mark.parametrize(("days", "workers"), [(4, 1), (4, 2), (4, 1000), (500, 2), (500, 1000)])
def test_memory_stays_within_the_plan(
    logs: dict[int, Path], tmp_path: Path, days: int, workers: int, memory: int, randomize: str
) -> None:
    command = [sys.executable, "-c", CHILD, logs[days], tmp_path / "out", workers, memory, randomize]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    stated, program, peak = map(int, result.stdout.split())
    assert peak <= stated, f"{peak >> 20} MiB, but {stated >> 20} MiB were stated, {program >> 20} MiB of the program"


@pytest.mark.parametrize("memory_bytes", [16 << 20, 64 << 20, 512 << 20, 2 << 30])
@pytest.mark.parametrize("workers", [1, 2, 7, 64, 1000, 10**6])
def test_chunks_and_buckets_of_all_workers_fit_the_budget(memory_bytes: int, workers: int) -> None:
    options = PreprocessOptions(workers=workers, memory_bytes=memory_bytes).within_memory()
    assert 1 <= options.workers <= workers
    # Nine times the text (see `chunk_bytes`), plus half a megabyte for the histogram and stack.
    assert options.chunks_in_memory * (9 * options.chunk_bytes + (1 << 19)) <= memory_bytes
    # A bucket, its records and their order.
    assert options.workers * 2.2 * options.bucket_bytes(1e12) <= memory_bytes
    assert workers > 4 or options.workers == workers


def test_fewer_workers_are_said_and_write_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(100, 0), random_lines(100, 1)])
    caplog.set_level(logging.INFO)
    preprocess(raw, tmp_path / "many", PreprocessOptions(workers=1000, memory_bytes=64 << 20))
    assert "19 workers instead of 1000: --memory 64 MiB is not enough for more" in caplog.text
    preprocess(raw, tmp_path / "one", PreprocessOptions(workers=1))
    assert read(tmp_path / "many") == read(tmp_path / "one")
    assert "by --memory, the vocabulary" in caplog.text
