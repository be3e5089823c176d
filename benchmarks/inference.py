"""Time int8 inference and its alternatives in one process: MLPerf's shapes, random weights and random rows.

Shape v1: networks 13-512-256-128 and 479-1024-1024-512-256-1, 26 tables of dimension 128, one-hot. Shape v2, which is
DLRM-DCNv2: bags of 214 rows a sample, a cross network of 3 layers of rank 512 on 3,456 values, and
3456-1024-1024-512-256-1. Contenders take turns, and ratios are paired round by round. They include other programs, as
far as these are installed (the extra `rivals`), and the fastest of them is named at every batch size. Prints a table,
the time of each stage of the int8 model, and JSON as the last line; with several thread counts one JSON line for each,
in the given order.

    python benchmarks/inference.py                       # all threads, then one
    python benchmarks/inference.py --threads 1 --seconds 2 --rows 20000 --rivals none
    python benchmarks/inference.py --threads 1 --batch-sizes 1 8 32 128 2048 --rivals onnxruntime openvino
    python benchmarks/inference.py --shape v2 --threads 1
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from ceilings import ceilings, linear_operations, roofline
from machine import machine
from shapes import BAGS, SHAPES, architecture, columns, lookups
from stages import stage_times

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.compare import compare
from dlrm_pl.benchmark.comparison import Cell, Comparison
from dlrm_pl.benchmark.contenders import Contenders, float_contenders, int8_contender
from dlrm_pl.benchmark.footprint import float_row_bytes, int8_row_bytes
from dlrm_pl.benchmark.rivals.choice import NAMES, with_rivals
from dlrm_pl.benchmark.rows import random_batch, random_rows
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.int8_dlrm import Int8DLRM, count_int8_ops
from dlrm_pl.runtime.tables import row_bytes


def build(
    rows: int, seed: int, calibration_rows: int = 2048, shape_name: str = "v1"
) -> tuple[DLRM, Int8DLRM, list[ClickBatch]]:
    """Make a float model, its int8 model and the rows that calibrated it."""
    torch.manual_seed(seed)
    shape, of_rows = architecture(rows, shape_name), columns(rows, shape_name)
    model = DLRM(shape).eval()
    with torch.no_grad():
        # Initial tables are so small that the logits hardly depend on them, and agreement would prove nothing.
        for table in model.embedding_bags.parameters():
            table.mul_(0.3 * rows**0.5)
    calibration = [random_batch(shape, calibration_rows, -1 - number, of_rows) for number in range(4)]
    recipe = Recipe.starting_from(RecipeStart(), shape)
    return model, quantize(model, recipe, calibration, table_packer(model)), calibration


def times(cell: Cell, name: str, other: str) -> float | None:
    """Return how many times as fast as ``other`` a contender is, from the paired ratios of both to fp32."""
    if name not in cell.timings or other not in cell.timings:
        return None
    return round(cell.timings[name].ratio / cell.timings[other].ratio, 2)


def summary(comparison: Comparison, threads: int, limit: float | None) -> dict[str, object]:
    """Return the JSON of one number of threads.

    For each batch size it has the samples/s of each contender by name, and how many times as fast as others int8 is:
    ``x_fp32`` (eager), ``x_bf16`` (compiled), ``x_eager_int8``, and ``x_best_rival``, the fastest of all contenders
    that are not our int8 model, which ``best_rival`` names.

    Args:
        comparison: the times.
        threads: number of threads.
        limit: samples/s of the roofline.
    """
    cells = {cell.batch_size: cell for cell in comparison.cells if cell.threads == threads}
    batch = {}
    for size, cell in cells.items():
        speeds = {name: round(timing.samples_per_s) for name, timing in cell.timings.items()}
        ratios = {"x_fp32": "fp32", "x_bf16": "bf16_compiled", "x_eager_int8": "eager_int8"}
        found: dict[str, object] = {key: times(cell, "int8", other) for key, other in ratios.items()}
        if best := comparison.best_rival(cell):
            found |= {"x_best_rival": round(best.times, 2), "best_rival": best.name}
        batch[str(size)] = speeds | found
    fastest = max(cell.timings["int8"].samples_per_s for cell in cells.values())
    return {
        "isa": isa(),
        "threads": threads,
        "batch": batch,
        "batch1_latency_ms": {name: round(timing.p50_ms, 4) for name, timing in cells[1].timings.items()},
        "roofline_share": None if limit is None else round(fastest / limit, 3),
        "unavailable": comparison.unavailable,
        "machine": machine(),
    }


def print_cell(cell: Cell, comparison: Comparison) -> None:
    print(f"\nbatch {cell.batch_size:,}, {cell.threads} thread{'s' * (cell.threads > 1)}")
    milliseconds = f"{'ms':>10}{'95 % interval':>20}{'p99 ms':>10}"
    print(f"  {'':<20}{'samples/s':>12}{milliseconds}{'x fp32 eager':>14}{'95 % interval':>16}")
    for name, timing in cell.timings.items():
        interval = f"{timing.interval_ms[0]:.3f} - {timing.interval_ms[1]:.3f}"
        ratio = f"{timing.ratio_interval[0]:.2f} - {timing.ratio_interval[1]:.2f}"
        print(
            f"  {comparison.labels[name]:<20}{timing.samples_per_s:>12,.0f}{timing.p50_ms:>10.3f}{interval:>20}"
            f"{timing.p99_ms:>10.3f}{timing.ratio:>14.2f}{ratio:>16}"
        )
    if best := comparison.best_rival(cell):
        print(f"  fastest rival: {best.label}; int8 is {best.times:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="v1", help="MLPerf's first or second model")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each table")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads; default: all, then one")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="default: 2048 and 16384; for v2 400 and 2048")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds for each contender and batch size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rivals", nargs="+", choices=[*NAMES, "all", "none"], default=["all"], help="other programs to time as well"
    )
    parser.add_argument(
        "--clock",
        choices=["wall", "processor"],
        default="wall",
        help="processor: processor seconds, for one thread on a machine that others use",
    )
    options = parser.parse_args()
    if options.clock == "processor" and options.threads != [1]:
        parser.error("--clock processor adds the seconds of all threads: give --threads 1")
    if len(options.rivals) > 1 and {"all", "none"} & set(options.rivals):
        parser.error(f"--rivals {' '.join(options.rivals)}: all and none stand alone")
    rivals = {"all": NAMES, "none": ()}.get(options.rivals[0], options.rivals)
    counts = options.threads or sorted({torch.get_num_threads(), 1}, reverse=True)
    batch_sizes = options.batch_sizes or {"v1": [2048, 16384], "v2": [400, 2048]}[options.shape]

    began = time.perf_counter()
    model, int8, calibration = build(options.rows, options.seed, shape_name=options.shape)
    batch = calibration[0]
    found, expected = count_int8_ops(int8, batch), int8.expected_int8_ops()
    assert found == expected, f"one pass ran the integer ops {found}, expected are {expected}"
    floats = with_rivals(float_contenders(model, calibration), model, calibration, rivals)
    contenders = Contenders((*floats.available, int8_contender(int8)), floats.unavailable)
    print(f"built in {time.perf_counter() - began:.0f} s; integer ops of one pass: {found}")
    bags = BAGS if options.shape == "v2" else ()
    fp32_bytes, int8_bytes = float_row_bytes(model.architecture, 4, bags), int8_row_bytes(int8, bags)
    print(f"table bytes a sample: fp32 {fp32_bytes:,}, int8 {int8_bytes:,}")

    rows = random_rows(model.architecture, options.seed, columns(options.rows, options.shape))
    sizes = sorted({1, *batch_sizes})
    clock = {"wall": time.perf_counter, "processor": time.process_time}[options.clock]
    comparison = compare(
        contenders, rows, batch_sizes=sizes, threads=counts, seconds=options.seconds, progress=log, clock=clock
    )
    for cell in comparison.cells:
        print_cell(cell, comparison)
    for label, reason in comparison.unavailable.items():
        print(f"  {label}: not available, {reason}")

    print("\nagreement with fp32, dB: " + ", ".join(f"{name} {db:.1f}" for name, db in comparison.sqnr_db.items()))
    for count in counts:
        torch.set_num_threads(count)
        for size in batch_sizes:
            with torch.inference_mode():
                stages = stage_times(int8, rows(size), options.seconds)
            text = ", ".join(f"{stage} {ms:.2f}" for stage, ms in stages.items())
            print(f"where the time goes, batch {size:,}, {count} threads, ms: {text}")

    shape, limits = model.architecture, ceilings(sum(model.architecture.table_sizes), row_bytes("int8", 128))
    print(f"a sample: {linear_operations(shape):,} int8 operations, {lookups(options.shape)} rows")
    print(f"this machine's ceilings, one thread: {limits or 'unknown'}")
    for count in counts:
        torch.set_num_threads(count)  # The summary states it.
        limit = None if limits is None else roofline(shape, limits, count, lookups(options.shape))
        print(json.dumps(summary(comparison, count, limit) | {"clock": options.clock}))


def log(what: str) -> None:
    print(f"... {what}", flush=True)


if __name__ == "__main__":
    main()
