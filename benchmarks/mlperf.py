"""Run MLPerf's scenarios as its rules require: MLPerf's first model, 600 s, and 204,800 samples in memory.

Trains the model (networks 13-512-256-128 and 479-1024-1024-512-256-1, 26 tables of dimension 128 and at most
``--table-rows`` rows) on synthetic clicks, quantizes it, and runs ``benchmark --mlperf`` on one thread: the scenarios
use random rows, uniform over each table, which are harder for caches than those of a log; the accuracy run uses the
test rows. With ``--accuracy-script``, MLPerf's own script reads its log as well: accuracy-dlrm.py of
mlcommons/inference, which needs scikit-learn. The samples in memory take 9 GB.

    python benchmarks/mlperf.py --accuracy-script ../inference/recommendation/dlrm_v2/pytorch/tools/accuracy-dlrm.py
    python benchmarks/mlperf.py --duration 10 --samples 2048 --rows 400000 --table-rows 1000

Prints what each step found, and JSON as the last line.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = 256_000
"""User-item pairs per second and core: Intel's submission to MLPerf inference (int8, AMX)."""
_BATCH = 2048
_TRAINED = 6 / 8  # Share of the synthetic rows, in four days of which the last is val and test.


def command(*arguments: object, result: Path | None = None) -> str:
    """Run a command of the program and return what it printed.

    Ends the benchmark if it fails, unless it wrote the result of an invalid run.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode and not (result is not None and result.is_file()):
        sys.exit(f"{arguments}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    print(f"{arguments[0]}: {time.perf_counter() - began:.0f} s", flush=True)
    return done.stdout


def make_artifact(folder: Path, rows: int, table_rows: int) -> tuple[Path, Path]:
    """Make clicks, train MLPerf's model on them, and quantize it; returns the artifact and the dataset."""
    data, runs, artifact = folder / "data", folder / "runs", folder / "artifact"
    if not artifact.is_dir():
        command("synthesize", "--output", data, "--rows", rows, "--max_table_size", table_rows)
        steps = int(rows * _TRAINED) // _BATCH
        options = {
            "model": "configs/model/mlperf_d128.yaml",
            "model.learning_rate": 4.0,
            "model.lr_num_warmup_steps": steps // 5,
            "model.lr_decay_start_step": steps // 2,
            "model.lr_num_decay_steps": steps - steps // 2,
            "data": "configs/data/terabyte.yaml",
            "data.folder": data,
            "trainer.max_epochs": 1,
            "trainer.precision": "bf16-mixed",
            "trainer.logger": "false",
            "trainer.enable_progress_bar": "false",
            "trainer.limit_val_batches": 0,
            "trainer.default_root_dir": runs,
            "seed_everything": 1,
        }
        command("fit", *(part for name, value in options.items() for part in (f"--{name}", value)))
        (checkpoint,) = runs.rglob("*.ckpt")
        command("quantize", "--ckpt_path", checkpoint, "--data.folder", data, "--output", artifact)
    return artifact, data


def run_scenario(artifact: Path, output: Path, *options: object) -> dict[str, Any]:
    """Run ``benchmark --mlperf`` on one thread; returns what it wrote."""
    shutil.rmtree(output, ignore_errors=True)
    options = ("--artifact", artifact, "--threads", "[1]", "--output", output, *options)
    command("benchmark", *options, result=output / "mlperf.json")
    found: dict[str, Any] = json.loads((output / "mlperf.json").read_text())
    return found


def auroc_of_script(script: Path, log: Path) -> float:
    """Return the AUROC that MLPerf's script finds in an accuracy log, to five digits."""
    done = subprocess.run(
        [sys.executable, script, "--mlperf-accuracy-file", log], capture_output=True, text=True, check=True
    )
    found = re.search(r"AUC=([\d.]+)%", done.stdout)
    if found is None:
        sys.exit(f"{script} printed no AUC:\n{done.stdout}\n{done.stderr}")
    return round(float(found[1]) / 100, 7)


def main() -> None:
    """Train, run, print, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", nargs="+", choices=["offline", "server"], default=["offline", "server"])
    parser.add_argument("--duration", type=float, default=600.0, help="least seconds of a run")
    parser.add_argument("--samples", type=int, default=204_800, help="samples in memory")
    parser.add_argument("--rows", type=int, default=4_000_000, help="synthetic rows, of which three quarters train")
    parser.add_argument("--table-rows", type=int, default=200_000, help="most rows of a table")
    parser.add_argument("--server-qps", type=float, help="samples per second of the server; default: searched")
    parser.add_argument("--accuracy-script", type=Path, help="MLPerf's accuracy-dlrm.py")
    parser.add_argument("--folder", type=Path, help="where files stay; default: a temporary folder")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    more: tuple[object, ...]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        artifact, data = make_artifact(folder, options.rows, options.table_rows)
        more = ("--mlperf_accuracy", "--data", data, "--duration_s", min(10.0, options.duration))
        found = run_scenario(artifact, folder / "accuracy", "--mlperf", "offline", *more)["accuracy"]
        if options.accuracy_script is not None:
            log = folder / "accuracy" / "mlperf_log_accuracy.json"
            found["auroc_of_mlperf_script"] = auroc_of_script(options.accuracy_script, log)
        results["accuracy"] = found
        print(f"accuracy: {found}", flush=True)
        for scenario in options.scenarios:
            more = ("--mlperf_samples", options.samples, "--duration_s", options.duration)
            if scenario == "server" and options.server_qps:
                more += ("--target_qps", options.server_qps)
            report = run_scenario(artifact, folder / scenario, "--mlperf", scenario, *more)
            result = report["result"]
            results[scenario] = {
                "valid": result["valid"],
                "samples": report["samples"],
                "pairs_per_s": round(result["pairs_per_s"]),
                "x_published_core": round(result["pairs_per_s"] / PUBLISHED, 3),
                "p99_ms": round(result["latency_ms"]["p99"], 2),
                "reason": result["reason"],
            }
            print(f"{scenario}: {results[scenario]}", flush=True)
    print(json.dumps(results | {"duration_s": options.duration, "machine": machine()}))


if __name__ == "__main__":
    main()
