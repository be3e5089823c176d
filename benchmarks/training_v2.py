"""Time training steps of DLRM v2 (DLRM-DCNv2): the engines of this package beside TorchRec's own model.

MLPerf's second model: networks 13-512-256-128 and 3456-1024-1024-512-256-1, three cross layers of rank 512, 26 tables
of dimension 128, of which the largest have ``--rows`` rows, 214 lookups a sample in bags of 1 to 100 rows, element-wise
Adagrad. All contenders begin with the same weights and train on the same batches, in turn, so that a busy machine slows
all of them down; their first losses are compared before anything is timed.

    python benchmarks/training.py --shape v2
    python benchmarks/training.py --shape v2 --batch-sizes 8192 --threads 2 --rounds 3
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torchrec_training import TorchRecStep
from training_limits import Limits, measure_limits
from training_steps import CONTENDERS, torch_or_native

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM

# Table sizes of the Criteo terabyte logs, and the number of ids of each feature of MLPerf's multi-hot data.
_SIZES = (
    *(40000000, 39060, 17295, 7424, 20265, 3, 7122, 1543, 63, 40000000, 3067956, 405282, 10),
    *(2209, 11938, 155, 4, 976, 14, 40000000, 40000000, 40000000, 590152, 12973, 108, 36),
)
_IDS = (3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1)
_RATE, _EPSILON = 0.005, 1e-8
_BATCHES = 4
# bf16 keeps 8 bits of a product's factors; the others round in a different order.
_TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}


@dataclass(frozen=True)
class _Contender:
    """A step, and how a batch is prepared for it."""

    step: Callable[[Any], float]
    prepared: Callable[[ClickBatch], Any]
    precision: str


def shape_v2(rows: int) -> Architecture:
    """Return MLPerf's DLRM-DCNv2 with at most ``rows`` rows in each table."""
    sizes = tuple(min(size, rows) for size in _SIZES)
    top = (1024, 1024, 512, 256, 1)
    return Architecture(sizes, 128, (13, 512, 256, 128), top, interaction="dcn", cross_layers=3, cross_rank=512)


def batches_v2(shape: Architecture, size: int, count: int = _BATCHES) -> list[ClickBatch]:
    """Return batches of random values: every row of a table is as likely as the others."""
    rng = torch.Generator().manual_seed(size)
    lengths = torch.tensor(_IDS).repeat_interleave(size)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    found = []
    for _ in range(count):
        columns = zip(shape.table_sizes, _IDS, strict=True)
        indices = torch.cat([torch.randint(rows, (size * ids,), generator=rng) for rows, ids in columns])
        dense, labels = torch.rand(size, 13, generator=rng), torch.rand(size, generator=rng)
        found.append(ClickBatch(dense, indices, offsets, (labels < 0.03).float()))
    return found


def contenders(shape: Architecture) -> tuple[dict[str, _Contender], dict[str, str]]:
    """Return the contenders, and why others are missing. Each has weights and optimizer of its own."""
    torch.manual_seed(0)
    model, absent = DLRM(shape), {}
    found: dict[str, _Contender] = {}
    for name, fused in {"torchrec": False, "torchrec_fused": True}.items():
        try:
            step = TorchRecStep(model, _RATE, _EPSILON, fused=fused)
        except ImportError as error:
            absent[name] = f"{error}; `make sharded` installs TorchRec"
            continue
        found[name] = _Contender(step, step.prepared, "fp32")
    for contender in CONTENDERS:
        ours = torch_or_native(contender, copy.deepcopy(model), "adagrad", _RATE, _EPSILON)
        if isinstance(ours, str):
            absent[contender.name] = ours
        else:
            found[contender.name] = _Contender(ours, lambda batch: batch, contender.precision)
    return found, absent


def check_losses(found: dict[str, _Contender], batch: ClickBatch) -> dict[str, float]:
    """Train each contender on one batch, and compare the losses before and after it.

    Raises:
        ArithmeticError: a contender trains another model, or by another rule.
    """
    losses = {name: [one.step(one.prepared(batch)) for _ in range(2)] for name, one in found.items()}
    expected = losses["torch_fp32"]
    for name, loss in losses.items():
        tolerance = _TOLERANCE[found[name].precision]
        # The second loss shows the update: Adagrad's first step has the sign of each gradient, however small.
        for mine, theirs, times in zip(loss, expected, (1, 30), strict=True):
            if abs(mine - theirs) > times * tolerance * abs(theirs):
                raise ArithmeticError(f"{name} has the losses {loss}, and torch_fp32 {expected}")
    return {name: loss[0] for name, loss in losses.items()}


class Times(NamedTuple):
    """What one step takes: seconds, and processor seconds, which other programs do not lengthen."""

    wall: float
    processor: float


def times_v2(
    found: dict[str, _Contender], batches: Sequence[ClickBatch], threads: int, rounds: int
) -> dict[str, list[Times]]:
    """Return what one step of each contender takes in each round; they take turns."""
    torch.set_num_threads(threads)
    prepared = {name: [one.prepared(batch) for batch in batches] for name, one in found.items()}
    times: dict[str, list[Times]] = {name: [] for name in found}
    for number in range(rounds):
        names = list(found)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].step(prepared[name][number % len(batches)])  # Brings its weights back into the caches.
            wall, processor = time.perf_counter(), time.process_time()
            found[name].step(prepared[name][(number + 1) % len(batches)])
            times[name].append(Times(time.perf_counter() - wall, time.process_time() - processor))
    return times


def limit_shares(limits: Limits | None, shape: Architecture, speeds: dict[str, float]) -> dict[str, float]:
    """Return the speeds of the native step, per processor second, as shares of what products and rows allow.

    Rows are counted as if no two of a batch were the same; Adagrad changes two for each, of the table and of the sums.
    """
    if limits is None:
        return {}
    ids = sum(_IDS)
    return {
        name: round(speed / limits.samples_per_s(shape, 1, bf16="bf16" in name, lookups=ids, changed=2 * ids), 3)
        for name, speed in speeds.items()
        if name.startswith("native")
    }


def measure_v2(sizes: Sequence[int], counts: Sequence[int], rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Measure all batch sizes and numbers of threads, and print them.

    Args:
        sizes: of the batches.
        counts: numbers of threads.
        rows: most rows of a table.
        rounds: of turns.
        folder: where compiled code goes.

    Returns:
        Samples a second, the same a second of a processor, and times as fast as TorchRec's two ways, by batch size,
        threads and contender. The last ones are medians of the ratios of each round.
    """
    shape = shape_v2(rows)
    limits = measure_limits(sum(shape.table_sizes), shape.embedding_dim, folder)
    print(f"v2: limits of one thread: {limits or 'not measured, there is no compiler'}")
    found, absent = contenders(shape)
    for name, reason in absent.items():
        print(f"{name}: not available, {reason}")
    losses = check_losses(found, batches_v2(shape, 256, 1)[0])
    print("first losses: " + ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()))
    result: dict[str, Any] = {"optimizer": "adagrad", "rows": rows}
    result |= {"limits": None if limits is None else limits.statement()}
    result |= {"samples_per_s": {}, "samples_per_processor_s": {}, "x_torchrec": {}, "x_torchrec_fused": {}}
    result["limit_share"] = {}
    for size in sizes:
        batches = batches_v2(shape, size)
        for count in counts:
            times = times_v2(found, batches, count, rounds)
            cell = {
                "samples_per_s": {name: _speed(size, [one.wall for one in of]) for name, of in times.items()},
                "samples_per_processor_s": {
                    name: _speed(size, [one.processor for one in of]) for name, of in times.items()
                },
            }
            cell["limit_share"] = limit_shares(limits, shape, cell["samples_per_processor_s"])
            for base in ("torchrec", "torchrec_fused"):
                if base in times:
                    cell[f"x_{base}"] = {name: _ratio(times[base], of) for name, of in times.items()}
            for key, value in cell.items():
                result[key].setdefault(str(size), {})[str(count)] = value
            _print(size, count, cell)
    return result


def _speed(size: int, seconds: Sequence[float]) -> float:
    """Return the median of samples a second."""
    return round(size / statistics.median(seconds), 1)


def _ratio(base: Sequence[Times], found: Sequence[Times]) -> float:
    """Return how many times as fast as the base, by rounds."""
    return round(statistics.median(a.wall / b.wall for a, b in zip(base, found, strict=True)), 2)


def _print(size: int, count: int, cell: dict[str, dict[str, float]]) -> None:
    print(f"\nv2, batch {size:,}, {count} thread{'s' if count > 1 else ''}")
    print(f"  {'':<16}{'samples/s':>12}{'/processor s':>14}{'x TorchRec':>12}{'x fused':>12}")
    for name, speed in cell["samples_per_s"].items():
        ratios = [cell.get(key, {}).get(name, float("nan")) for key in ("x_torchrec", "x_torchrec_fused")]
        print(
            f"  {name:<16}{speed:>12,.1f}{cell['samples_per_processor_s'][name]:>14,.1f}"
            + "".join(f"{ratio:>12.2f}" for ratio in ratios),
            flush=True,
        )
    shares = cell["limit_share"]
    print("  share of the limits: " + ", ".join(f"{name} {share}" for name, share in shares.items()))
