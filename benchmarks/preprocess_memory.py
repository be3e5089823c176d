"""Measure the peak memory of ``preprocess`` on two inputs with the same vocabulary, the second ten times as long.

python benchmarks/preprocess_memory.py --rows 1000000 --memory 64MiB

The second input is ten copies of the first, so that the vocabulary does not grow. Both are large enough to use the
whole memory budget. The exit status is 1 when the peaks are more than 10 % apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from preprocess import ROOT, cli, day_files
from scratch import scratch_folder

TIMES = 10
MOST_APART = 0.1


def grow(raw: Path, folder: Path) -> Path:
    """Copy every day several times into one file; returns the files' prefix."""
    folder.mkdir()
    for file in day_files(raw):
        with (folder / file.name).open("wb") as target:
            for _ in range(TIMES):
                with file.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
    return folder / raw.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the smaller input")
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--memory", default="64MiB", help="memory budget of preprocess")
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder; default: the system's")
    options = parser.parse_args()
    result: dict[str, object] = {"memory": options.memory, "rows": [options.rows, TIMES * options.rows]}
    with scratch_folder(options.folder) as temporary:
        folder = Path(temporary)
        made = ["--rows", str(options.rows), "--days", str(options.days), "--output", str(folder / "small")]
        cli(ROOT, "synthesize", "--format", "raw", *made)
        small = folder / "small" / "day"
        large = grow(small, folder / "large")
        apart = {}
        for randomize in ("total", "day", "none"):
            peaks = []
            for name, raw in (("small", small), ("large", large)):
                output = folder / f"{name}_{randomize}"
                order = ["--memory", options.memory, "--randomize", randomize]
                done = cli(ROOT, "preprocess", "--raw", str(raw), "--output", str(output), *order)
                peaks.append(round(done.peak_mb, 1))
                shutil.rmtree(output)
            apart[randomize] = round(peaks[1] / peaks[0] - 1, 4)
            result[f"peak_rss_mb_{randomize}"] = peaks
            print(f"{randomize:<6} peak {peaks[0]:,.1f} and {peaks[1]:,.1f} MB: {apart[randomize]:+.1%}", flush=True)
    result["apart"] = apart

    # Imports torch, so only after the last run: a child's peak memory begins with that of its parent.
    from machine import machine

    print(json.dumps(result | {"machine": machine()}))
    if max(map(abs, apart.values())) > MOST_APART:
        sys.exit("The peaks are too far apart.")


if __name__ == "__main__":
    main()
