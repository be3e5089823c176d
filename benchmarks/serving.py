"""Time ``serve`` with clients on loopback: MLPerf's shape, random weights and rows.

python benchmarks/serving.py                    # two cores, a minute
python benchmarks/serving.py --seconds 1 --without_sparse

- One row, and 2,048 rows, in a closed loop: the server runs on one core; the client, on another, has one connection and
  sends a request when it has the answer to the one before.
- The bare model: the same batches of 2,048 rows on the same core, without a server.
- Single rows at the times of a Poisson process, on many connections; server and clients share two cores. Time counts
  from when the request was due, so a server that cannot keep up shows. The processor time of a request is reported for
  both sides.
- A swap under such a load: the folder is replaced by that of another model, and requests that were due from then until
  the server had loaded it are compared with those before.
- The start of a server whose tables are sparse files of 60 GB: from the start of the process to the first answer of
  /v2/health/ready with status 200.

The last line is JSON. A request that fails ends the benchmark, except during the swap, where failures are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from serving_artifact import build, enlarge
from serving_client import binary_request, closed_loop, get, poisson

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def server(folder: Path, cores: set[int], *options: str) -> Iterator[tuple[int, float, subprocess.Popen[str]]]:
    """Run ``serve`` on some cores; gives the port, the seconds until it was ready, and the process."""
    began = time.perf_counter()
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--model", f"model={folder}", "--port", "0", *options]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                errors.seek(0)
                sys.exit(f"serve did not start: {errors.read()[-2000:]}")
            port = int(line.rsplit(":", 1)[1])
            while not _is_ready(port):
                time.sleep(0.005)
            yield port, time.perf_counter() - began, process
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(60):
                errors.seek(0)
                print(errors.read()[-2000:], file=sys.stderr)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=10) as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


def version(sock: socket.socket) -> str:
    return str(json.loads(get(sock, "/v2/models/model"))["versions"][-1])


def processor_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def bare_samples_per_s(folder: Path, core: int, table_rows: int, seconds: float) -> float:
    """Samples per second of the model itself on one core, batches of 2,048, in a process of its own."""
    code = f"""
import os, time, torch
os.sched_setaffinity(0, {{{core}}})
torch.set_num_threads(1)
from dlrm_pl import ClickBatch, load_artifact
model = load_artifact({str(folder)!r}).model
batches = [ClickBatch(torch.rand(2048, 13) * 4, torch.randint({table_rows}, (26, 2048))) for _ in range(8)]
times = []
with torch.inference_mode():
    end = time.perf_counter() + {seconds}
    while time.perf_counter() < end or len(times) < 20:
        began = time.perf_counter()
        model(batches[len(times) % 8])
        times.append(time.perf_counter() - began)
times = sorted(times[len(times) // 10 :])
print(2048 * len(times) / sum(times))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return float(done.stdout)


def triton(port: int, table_rows: int, seconds: float) -> float | None:
    """Median milliseconds of one row with the client that Triton publishes; None if it is not installed."""
    try:
        from tritonclient import http
    except ImportError:
        return None
    rng = np.random.default_rng(0)
    times = []
    with http.InferenceServerClient(f"127.0.0.1:{port}") as client:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            inputs = [http.InferInput("dense", [1, 13], "FP32"), http.InferInput("indices", [1, 26], "INT64")]
            inputs[0].set_data_from_numpy(rng.random((1, 13), np.float32))
            inputs[1].set_data_from_numpy(rng.integers(0, table_rows, (1, 26)))
            outputs = [http.InferRequestedOutput("probability", binary_data=True)]
            began = time.perf_counter()
            client.infer("model", inputs, outputs=outputs)
            times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))


def swap(
    folder: Path, newer: Path, cores: set[int], requests: list[bytes], rate: float, seconds: float
) -> dict[str, Any]:
    """Replace an artifact under load."""
    with (
        server(folder, cores, "--poll_s", "0.2") as (port, _, _process),
        socket.create_connection(("127.0.0.1", port), timeout=60) as sock,
        ThreadPoolExecutor(1) as other,
    ):
        before = version(sock)

        def replace() -> tuple[float, float]:
            time.sleep(seconds)
            swapped_from = time.perf_counter()
            folder.rename(folder.with_name("earlier"))
            newer.rename(folder)
            while version(sock) == before:
                time.sleep(0.02)
            return swapped_from, time.perf_counter()

        replaced = other.submit(replace)
        found = poisson(port, requests, rate, 2 * seconds, 32)
        marks = [at - found.began for at in replaced.result()]
    usual = found.percentile(99, lambda at: at < marks[0])
    during = found.percentile(99, lambda at: marks[0] <= at <= marks[1])
    return {
        "swap_failed": found.failed,
        "swap_p99_ratio": round(during / usual, 2),
        "swap_s": round(marks[1] - marks[0], 3),
        "swap_usual_p99_ms": round(usual, 3),
        "swap_requests": sum(marks[0] <= at <= marks[1] for at in found.sent_at),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each table")
    parser.add_argument("--seconds", type=float, default=5.0, help="time of each measurement")
    parser.add_argument("--rate", type=float, default=5000.0, help="single rows a second")
    parser.add_argument("--swap_rate", type=float, default=1000.0, help="single rows a second during the swap")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--without_sparse", action="store_true", help="leave out the artifact of 60 GB")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    client_core, server_core = cores[0], cores[-1]
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder, newer = Path(temporary, "artifact"), Path(temporary, "newer")
        build(folder, options.rows, seed=0)
        build(newer, options.rows, seed=1)
        single = [binary_request(1, options.rows, seed) for seed in range(64)]
        large = [binary_request(2048, options.rows, seed) for seed in range(8)]
        bare = bare_samples_per_s(folder, server_core, options.rows, options.seconds)
        with server(folder, {server_core}, "--poll_s", "0") as (port, small_ready_s, _):
            os.sched_setaffinity(0, {client_core})
            times = 1000 * np.array(closed_loop(port, single, options.seconds))
            result["batch1_p50_ms"] = round(float(np.percentile(times, 50)), 3)
            result["batch1_p99_ms"] = round(float(np.percentile(times, 99)), 3)
            batches = closed_loop(port, large, options.seconds)
            result["batch2048_samples_per_s"] = round(2048 * len(batches) / sum(batches))
            result["tritonclient_batch1_p50_ms"] = triton(port, options.rows, options.seconds / 2)
            os.sched_setaffinity(0, set(cores))
        again = bare_samples_per_s(folder, server_core, options.rows, options.seconds)
        result["bare_samples_per_s"] = round((bare + again) / 2)
        result["share_of_bare_model"] = round(result["batch2048_samples_per_s"] / result["bare_samples_per_s"], 3)
        two = set(cores[:2])
        os.sched_setaffinity(0, two)
        with server(folder, two, "--poll_s", "0") as (port, _, process):
            before_s = processor_s(process.pid)
            found = poisson(port, single, options.rate, options.seconds, options.connections)
            used_s = processor_s(process.pid) - before_s
            if found.failed:
                sys.exit(f"{found.failed} of {len(found.seconds)} single requests failed")
            result["single_row_per_s"] = round(found.per_s)
            result["single_row_p50_ms"] = round(found.percentile(50), 3)
            result["single_row_p99_ms"] = round(found.percentile(99), 3)
            result["single_row_server_us"] = round(1e6 * used_s / len(found.seconds))
            result["single_row_client_us"] = round(1e6 * found.processor_s / len(found.seconds))
        result |= swap(folder, newer, two, single, options.swap_rate, options.seconds)
        result["small_ready_s"] = round(small_ready_s, 2)
        if not options.without_sparse:
            large_folder = Path(temporary, "sparse")
            gigabytes = enlarge(folder, large_folder) / 1e9
            ready = []
            for _ in range(3):
                with server(large_folder, two) as (_, seconds, _process):
                    ready.append(seconds)
            result["ready_s"] = round(float(np.median(ready)), 2)
            result["sparse_gb"] = round(gigabytes, 1)
            shutil.rmtree(large_folder)
    for name, value in result.items():
        print(f"{name:<28}{value}")
    print(json.dumps(result | {"rate": options.rate, "connections": options.connections, "machine": machine()}))


if __name__ == "__main__":
    main()
