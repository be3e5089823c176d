"""Fail when an int8 kernel of this tree is slower than that of another commit.

The kernels of both are compiled with the same compiler, each with its own flags, loaded into one process, and called in
turn with the same arguments, separately for every variant that this processor has. Times are processor time, which
other work on the machine disturbs less. A case whose median ratio is beyond the limit is measured again with three
times the rounds before it counts. Prints a table, and JSON as the last line. Exit status: 0 when no case is slower than
the limit, 1 when one is, 2 when the two cannot be compared.

    python benchmarks/kernel_guard.py                       # against main, on main against the commit before
    python benchmarks/kernel_guard.py --base v0.1.0 --limit 1.05
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from machine import machine

from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.native import VERSION, NativeKernels
from dlrm_pl.kernels.int8.rows import BLOCK_IN, BLOCK_OUT, round_up
from dlrm_pl.kernels.int8.selection import ISAS

ROOT = Path(__file__).resolve().parents[1]
KERNELS = "dlrm_pl.kernels._int8"
BOTTOM, TOP = (13, 512, 256, 128), (479, 1024, 1024, 512, 256, 1)
TABLES, ROWS, DIM, RANK = 26, 10_000, 128, 512
LONGEST = 10.0  # Most seconds of a case, which would take minutes with plain C++.

Job = Callable[[NativeKernels], object]


@dataclass(frozen=True)
class Found:
    """The paired times of one case: medians of microseconds, and of the ratio of this tree's time to the other's."""

    isa: str
    case: str
    base_us: float
    here_us: float
    ratio: float
    low: float
    high: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="commit to compare with")
    parser.add_argument("--limit", type=float, default=1.05, help="largest ratio of this tree's time to the base's")
    parser.add_argument("--rounds", type=int, default=15, help="calls of each case in turn")
    parser.add_argument("--seconds", type=float, default=0.02, help="shortest time of one round of calls")
    options = parser.parse_args()
    base = options.base or default_base()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        libraries = (
            compiled(checkout(base, Path(folder)), Path(folder) / "base.so"),
            compiled(ROOT, Path(folder) / "here.so"),
        )
        found = [case for isa in variants(*libraries) for case in compare(isa, *libraries, options)]
    slower = [case for case in found if case.ratio > options.limit]
    for case in found:
        note = "  SLOWER" if case in slower else ""
        print(
            f"{case.isa:<12} {case.case:<28} {case.base_us:>10,.1f} us {case.here_us:>10,.1f} us  "
            f"{case.ratio:.3f} ({case.low:.3f} to {case.high:.3f}){note}"
        )
    verdict = {"base": base, "limit": options.limit, "slower": len(slower), "cases": [asdict(case) for case in found]}
    print(json.dumps(verdict | {"machine": machine()}))
    sys.exit(1 if slower else 0)


def default_base() -> str:
    """Name the base: main, or on main itself the commit before."""
    here, main = (git("rev-parse", name).decode().strip() for name in ("HEAD", "main"))
    return "HEAD~1" if here == main else "main"


def git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        cannot(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout


def cannot(reason: str) -> None:
    """Stop, since the two cannot be compared."""
    print(f"cannot compare: {reason}", file=sys.stderr)
    sys.exit(2)


def checkout(commit: str, folder: Path) -> Path:
    """Write the kernels' sources of a commit, and the file that says how to compile them."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "dlrm_pl/kernels", "pyproject.toml"))) as archive:
        archive.extractall(folder / "tree", filter="data")
    return folder / "tree"


def compiled(tree: Path, output: Path) -> ctypes.CDLL:
    """Compile and load the kernels of a tree."""
    extensions = tomllib.loads((tree / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    kernels = next(extension for extension in extensions if extension["name"] == KERNELS)
    command = [
        os.environ.get("CXX", "g++"),
        "-shared",
        "-fPIC",
        "-w",
        *kernels["extra-compile-args"],
        "-o",
        str(output),
    ]
    command += [*kernels["sources"], *(f"-l{name}" for name in kernels.get("libraries", []))]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        cannot(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    library = ctypes.CDLL(str(output))
    version = library.dlrm_int8_version()
    if version != VERSION:
        cannot(f"the interface of the kernels is of version {version} there, and of {VERSION} here")
    return library


def variants(base: ctypes.CDLL, here: ctypes.CDLL) -> list[str]:
    """Return the names of the variants that both have and this processor runs."""
    found = []
    for isa in ISAS[1:]:
        try:
            NativeKernels(base, ISAS.index(isa) - 1)
            NativeKernels(here, ISAS.index(isa) - 1)
        except LookupError:
            continue
        found.append(isa)
    return found


def compare(isa: str, base: ctypes.CDLL, here: ctypes.CDLL, options: argparse.Namespace) -> list[Found]:
    """Time every case of one variant."""
    pair = tuple(NativeKernels(library, ISAS.index(isa) - 1) for library in (base, here))
    found = []
    for name, job in cases().items():
        case = timed(isa, name, job, pair, options.rounds, options.seconds)
        if case.ratio > options.limit:
            case = timed(isa, name, job, pair, 3 * options.rounds, options.seconds)
        found.append(case)
    return found


def timed(isa: str, name: str, job: Job, pair: tuple[NativeKernels, ...], rounds: int, seconds: float) -> Found:
    """Call both in turn; each goes first in every other round."""
    calls = 1
    while (spent := elapsed(job, pair[0], calls)) < seconds:
        calls *= 2
    rounds = min(rounds, max(5, int(LONGEST / (2 * spent))))
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        measured = {which: elapsed(job, pair[which], calls) / calls for which in order}
        times.append((measured[0], measured[1]))
    ratios = [here / base for base, here in times]
    low, _, high = statistics.quantiles(ratios, n=4)
    base_us, here_us = (1e6 * statistics.median(values) for values in zip(*times, strict=True))
    return Found(isa, name, base_us, here_us, statistics.median(ratios), low, high)


def elapsed(job: Job, kernels: NativeKernels, calls: int) -> float:
    """Return the processor seconds of some calls, on this thread alone."""
    start = time.thread_time()
    for _ in range(calls):
        job(kernels)
    return time.thread_time() - start


def cases() -> dict[str, Job]:
    """Return the kernels' parts of MLPerf's two models, by name and number of rows."""
    found: dict[str, Job] = {}
    torch.manual_seed(0)
    int8, int4 = ([ops.pack_rows(torch.randn(ROWS, DIM), dtype) for _ in range(TABLES)] for dtype in (0, 1))
    for rows in (1, 128, 2048):
        for name, widths in (("bottom MLP", BOTTOM), ("top MLP", TOP)):
            found[f"{name}, {rows}"] = mlp(widths, rows)
        found[f"interaction, {rows}"] = interaction(int8, 0, rows)
    found["interaction of int4, 2048"] = interaction(int4, 1, 2048)
    found["sums of bags, 128"] = pooling(int8, 128)
    found["cross network, 400"] = cross(int8, 400)
    values, out = torch.randn(ROWS, DIM), torch.empty(ROWS, DIM + 4, dtype=torch.uint8)
    found["packing of rows, 10000"] = lambda kernels: kernels.pack(values, "int8", out)
    return found


def layers(widths: tuple[int, ...]) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Draw weights, multipliers and biases."""
    weights, multipliers, biases = [], [], []
    for ins, outs in pairwise(widths):
        weights.append(ops.pack_weight(torch.randint(-127, 128, (outs, ins), dtype=torch.int8)))
        padded = round_up(outs, BLOCK_OUT)
        multipliers.append(torch.full((padded,), 1 / (64 * ins**0.5)))
        biases.append(torch.full((padded,), 60.0))
    return weights, multipliers, biases


def mlp(widths: tuple[int, ...], rows: int) -> Job:
    weights, multipliers, biases = layers(widths)
    x = torch.randint(0, 256, (rows, round_up(widths[0], BLOCK_IN)), dtype=torch.uint8)
    x[:, widths[0] :] = 0
    out = torch.empty(rows, widths[-1])
    lowest = [*[0.0] * (len(widths) - 2), -torch.inf]
    scales, zero_points = [1.0] * len(weights), [0] * len(weights)
    return lambda kernels: kernels.mlp(x, scales, zero_points, weights, multipliers, biases, widths, lowest, out)


def interaction(tables: list[torch.Tensor], dtype: int, rows: int) -> Job:
    dense, indices = torch.randn(rows, DIM), torch.randint(0, ROWS, (TABLES, rows))
    width = DIM + TABLES * (TABLES + 1) // 2
    out = torch.empty(rows, round_up(width, BLOCK_IN), dtype=torch.uint8)
    dtypes, sums = [dtype] * TABLES, [False] * TABLES
    return lambda kernels: kernels.interaction(dense, indices, None, tables, dtypes, False, 0.5, 128, width, sums, out)


def pooling(tables: list[torch.Tensor], rows: int) -> Job:
    indices, offsets = bags(rows)
    out = torch.empty(rows, TABLES, DIM)
    return lambda kernels: kernels.pooling(indices, offsets, tables, [0] * TABLES, [False] * TABLES, out)


def cross(tables: list[torch.Tensor], rows: int) -> Job:
    indices, offsets = bags(rows)
    dense, width = torch.randn(rows, DIM), (TABLES + 1) * DIM
    weights, multipliers, biases = [], [], []
    for _ in range(3):
        for widths in ((width, RANK), (RANK, width)):
            drawn = layers(widths)
            weights += drawn[0]
            multipliers += [values / 1000 if widths[0] == RANK else values for values in drawn[1]]
            biases += [values / 1000 if widths[0] == RANK else values for values in drawn[2]]
    out = torch.empty(rows, width, dtype=torch.uint8)
    return lambda kernels: kernels.cross(
        *(dense, indices, offsets, tables, [0] * TABLES, [0.1] * 3, [128] * 3, weights, multipliers, biases, RANK),
        *(0.1, 128, [False] * TABLES, out),
    )


def bags(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw bags of eight rows of each table."""
    return torch.randint(0, ROWS, (8 * TABLES * rows,)), torch.arange(0, 8 * TABLES * rows + 1, 8)


if __name__ == "__main__":
    main()
