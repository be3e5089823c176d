"""Measure the time and memory to load an artifact as large as MLPerf's.

Writes an int8 artifact with the table sizes of the Terabyte set capped at 40 million rows, dimension 128, as sparse
files, whose tables of zeros take no disk space. Then loads it in a fresh process and scores a batch.

    python benchmarks/startup.py
    python benchmarks/startup.py --scale 0.01
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from machine import machine

from dlrm_pl.artifact.manifest import CERTIFICATE_NAME, TRIALS_NAME, WEIGHTS_NAME, Manifest
from dlrm_pl.artifact.store import save_weights
from dlrm_pl.artifact.tensors import to_tensors
from dlrm_pl.benchmark.rows import random_batch
from dlrm_pl.kernels.int8.rows import row_bytes
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.cpu import describe_machine
from dlrm_pl.runtime.table_file import file_header
from dlrm_pl.runtime.table_name import file_name

# Rows of the 40M-capped Terabyte tables, as published with MLPerf's implementation.
TABLE_SIZES = (
    *(39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346, 10, 2208, 11938, 155, 4, 976),
    *(14, 39979771, 25641295, 39664984, 585935, 12972, 108, 36),
)
DIM = 128

_LOAD = """
import json, resource, sys, time
import torch
import dlrm_pl
from dlrm_pl.benchmark.rows import random_batch
began = time.perf_counter()
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.store import load_model
from pathlib import Path
folder = Path(sys.argv[1])
model = load_model({path.name: path for path in folder.iterdir()}, Manifest.read(folder), "mapped")
loaded = time.perf_counter() - began
with torch.inference_mode():
    first = model(random_batch(model.architecture, 2048, seed=1))
status = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith("Rss"))
print(json.dumps({
    "load_s": loaded,
    "first_batch_s": time.perf_counter() - began - loaded,
    "anonymous_mb": int(status["RssAnon"].split()[0]) / 1024,
    "file_mb": int(status["RssFile"].split()[0]) / 1024,
    "finite": bool(torch.isfinite(first).all()),
}))
"""


def build(folder: Path, sizes: tuple[int, ...]) -> int:
    """Write the artifact and return its bytes; the MLPs are real, the tables are holes of sparse files."""
    shape = {"embedding_dim": DIM, "bottom_mlp": (13, 512, 256, 128), "top_mlp": (1024, 1024, 512, 256, 1)}
    small = DLRM(Architecture(table_sizes=(8,) * len(sizes), **shape)).eval()  # type: ignore[arg-type]
    calibration = [random_batch(small.architecture, 512, seed=0)]
    int8 = quantize(small, Recipe.starting_from(RecipeStart(), small.architecture), calibration, table_packer(small))
    _, ops = to_tensors(int8)
    save_weights(int8, folder)
    layers = (folder / WEIGHTS_NAME).stat().st_size
    table_bytes = 0
    for index, rows in enumerate(sizes):
        ops[f"tables.{index}"]["rows"] = rows
        size = rows * row_bytes("int8", DIM)
        with (folder / file_name(index, "int8")).open("wb") as file:
            file.write(file_header(torch.uint8, (rows, row_bytes("int8", DIM))))
            file.truncate(file.tell() + size)
        table_bytes += size
    architecture = Architecture(table_sizes=sizes, **shape)  # type: ignore[arg-type]
    Manifest(
        architecture=architecture.to_dict(),
        ops=ops,
        recipe={},
        fp32_bytes=4 * DIM * sum(sizes),
        int8_bytes=layers + table_bytes,
        table_bytes=table_bytes,
        dataset_fingerprint="",
        model_fingerprint="",
        machine=describe_machine(),
        accepted=True,
        nonfinite_rows={},
        files=dict.fromkeys((WEIGHTS_NAME, CERTIFICATE_NAME, TRIALS_NAME), ""),
    ).write(folder)
    return layers + table_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the table sizes")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    sizes = tuple(max(3, int(rows * options.scale)) for rows in TABLE_SIZES)
    with tempfile.TemporaryDirectory() as temporary:
        artifact_bytes = build(Path(temporary), sizes)
        print(f"artifact of {artifact_bytes / 1e9:.1f} GB, {sum(sizes):,} rows (a sparse file)")
        runs = []
        for _ in range(options.repeats):
            command = [sys.executable, "-c", _LOAD, temporary]
            runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
            print(f"loaded in {runs[-1]['load_s']:.3f} s, first batch {runs[-1]['first_batch_s']:.3f} s")
    middle = sorted(runs, key=lambda run: run["load_s"])[len(runs) // 2]
    assert all(run["finite"] for run in runs)
    print(
        json.dumps(
            {
                "artifact_gb": round(artifact_bytes / 1e9, 2),
                **middle,
                "machine": machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
