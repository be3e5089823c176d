"""Measure rows a second of ``preprocess`` from Parquet, CSV or Arrow files in the shape of Avazu's log.

python benchmarks/preprocess_frames.py --rows 2000000 --repeats 3
python benchmarks/preprocess_frames.py --format csv --threads 1 2

The log has a number column, and 12 integer and 9 text columns as categories, with as many values as Avazu's log. Every
run is a process of its own. The rates are those that the program reports, without its start, and those per second of
processor time, with its start, which other programs change less.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
from scratch import scratch_folder

ROOT = Path(__file__).resolve().parents[1]
FILE_ROWS = 500_000
DAYS = 4

# Distinct values of each column among 40 million rows, from the descriptions of the 2014 challenge.
INTEGERS = {
    "C1": 7,
    "banner_pos": 7,
    "device_type": 5,
    "device_conn_type": 4,
    "C14": 2_626,
    "C15": 8,
    "C16": 9,
    "C17": 435,
    "C18": 4,
    "C19": 68,
    "C20": 172,
    "C21": 60,
}
TEXTS = {
    "site_id": 4_737,
    "site_domain": 7_745,
    "site_category": 26,
    "app_id": 8_552,
    "app_domain": 559,
    "app_category": 36,
    "device_id": 2_686_408,
    "device_ip": 6_729_486,
    "device_model": 8_251,
}


def table_of(rng: np.random.Generator, rows: int, first_hour: int) -> pa.Table:
    """A part of the log; values are about as skewed as real ones, with few that are frequent and many rare ones."""

    def drawn(values: int) -> Any:
        return (values * rng.random(rows) ** 4).astype(np.int64)

    columns: dict[str, Any] = {
        "click": pa.array((rng.random(rows) < 0.17).astype(np.int8)),
        "hour": pa.array(14102100 + first_hour + np.sort(rng.integers(0, 24, rows)), pa.int32()),
    }
    columns |= {name: pa.array(1000 + drawn(values)) for name, values in INTEGERS.items()}
    for name, values in TEXTS.items():
        digits = np.char.mod("%08x", (np.arange(values, dtype=np.uint64) * 2654435761) & 0xFFFFFFFF)
        columns[name] = pa.array(digits).take(pa.array(drawn(values)))
    return pa.table(columns)


def write_log(folder: Path, kind: str, rows: int) -> int:
    """Write one file or several for each day; returns the bytes."""
    rng, number = np.random.default_rng(1), 0
    folder.mkdir()
    for day in range(DAYS):
        for first in range(0, rows // DAYS, FILE_ROWS):
            table = table_of(rng, min(FILE_ROWS, rows // DAYS - first), 100 * day)
            path = folder / f"part-{number:04d}.{kind}"
            if kind == "parquet":
                pyarrow.parquet.write_table(table, path)
            elif kind == "arrow":
                pyarrow.feather.write_feather(table, str(path), compression="uncompressed")
            else:
                pyarrow.csv.write_csv(table, path)
            number += 1
    return sum(path.stat().st_size for path in folder.iterdir())


def run(raw: Path, output: Path, threads: int, options: list[str]) -> tuple[float, float, float]:
    """Preprocess in a process of its own; returns its seconds, those of processors, and its peak memory in MB."""
    command = [sys.executable, str(ROOT / "cli.py"), "preprocess", "--raw", str(raw), "--output", str(output)]
    command += ["--columns", "avazu", "--split_by", "hour[:6]", "--threads", str(threads), "--json", *options]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    text, errors = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(errors.decode(errors="replace")[-4000:])
    return json.loads(text)["seconds"], usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--format", choices=("parquet", "csv", "arrow"), default="parquet")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, len(os.sched_getaffinity(0))])
    parser.add_argument("--folder", type=Path, help="folder for the log and the datasets; a temporary one by default")
    parser.add_argument("options", nargs="*", help="more options of preprocess, after --")
    arguments = parser.parse_args()
    with scratch_folder(arguments.folder) as temporary:
        raw = Path(temporary) / "log"
        # In a process of its own, since processes inherit the peak memory of the one that starts them.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            size = pool.submit(write_log, raw, arguments.format, arguments.rows).result()
        print(f"{arguments.rows:,} rows, {size / 1e6:,.0f} MB of {arguments.format}, load {os.getloadavg()[0]:.1f}")
        runs: dict[int, list[tuple[float, float, float]]] = {threads: [] for threads in arguments.threads}
        for number, threads in enumerate([arguments.threads[0], *arguments.threads * arguments.repeats]):
            output = Path(temporary) / "out"
            result = run(raw, output, threads, arguments.options)
            shutil.rmtree(output)
            if number:  # The first one fills the page cache.
                runs[threads].append(result)
        for threads, results in runs.items():
            seconds, processor, peaks = zip(*results, strict=True)
            of_processor = arguments.rows / statistics.median(processor)
            rates = sorted(round(arguments.rows / each) for each in seconds)
            print(
                f"threads {threads}: {statistics.median(rates):,.0f} rows/s ({rates[0]:,} to {rates[-1]:,}), "
                f"{statistics.median(rates) / threads:,.0f} a thread; {of_processor:,.0f} for a second of "
                f"processor time; {max(peaks):,.0f} MB"
            )


if __name__ == "__main__":
    main()
