"""Time training: bare steps of each engine and precision, and ``fit`` as a user runs it, beside upstream.

Bare steps: all contenders train the same tables in one process, in turn, in blocks of steps, on prepared batches.
``fit`` and upstream's script: processes that read the same ``.bin`` files, in turn; ``fit`` with its progress bar on a
terminal, CSVLogger and ModelCheckpoint. Each trains two epochs, of which the second is timed.

Shapes: ``mlperf`` has networks 13-512-256-128 and 479-1024-1024-512-256-1 and 26 tables of dimension 128, with random
rows; ``quickstart`` is the model and the dataset of the quick start. Upstream is facebookresearch/dlrm. ``v2`` is
MLPerf's DLRM-DCNv2 beside TorchRec's own model of it, bare steps only: see ``training_v2.py``.

    python benchmarks/training.py --reference ../dlrm
    python benchmarks/training.py --shape v2
    python benchmarks/training.py --shapes quickstart --batch-sizes 128 --threads 1 --fit-rows 750000
    DLRM_PL_ISA=avx512_vnni python benchmarks/training.py --shapes mlperf   # without AMX

Prints tables, the limits of this machine, and JSON as the last line.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fit_run import fit_on_a_terminal
from machine import machine
from scratch import scratch_folder
from training_limits import Limits, measure_limits
from training_steps import CONTENDERS, ROOT, native_isa, torch_or_native
from upstream_training import OPTIMIZERS, Script, UpstreamStep, is_checkout

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.synthetic.synthesize import synthesize
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM

FIT = {"32-true": "fit_fp32", "bf16-mixed": "fit"}
_BLOCK_S = 0.4
_BATCHES = 32
_WARM_STEPS = 2
_BARE_RATE = 0.01
"""Learning rate of bare steps: all contenders train the same tables on a few batches again and again, which may diverge
at the quick start's own rate of 1.0."""


@dataclass(frozen=True)
class Shape:
    """A model and its dataset.

    Attributes:
        name: ``mlperf`` or ``quickstart``.
        architecture: of the model.
        data: dataset folder.
        learning_rate: of every step of ``fit`` and of upstream's script.
    """

    name: str
    architecture: Architecture
    data: Path
    learning_rate: float

    def batches(self, size: int) -> list[ClickBatch]:
        """Return up to 32 batches of the training rows, as many as there are rows for, and at least one."""
        rows = ClickDataset.of_split(DatasetFolder.open(self.data), "train")
        count = max(1, min(_BATCHES, len(rows) // size))
        return [rows[number * size : (number + 1) * size] for number in range(count)]


def quickstart(data: Path | None, folder: Path) -> Shape:
    """Return the quick start's shape; its dataset is made if it is not given."""
    if data is None:
        synthesize(data := folder / "quickstart")
    sizes = tuple(DatasetFolder.open(data).table_sizes)
    return Shape("quickstart", Architecture(sizes, 16, (13, 128, 64, 16), (256, 128, 1)), data, 1.0)


def mlperf(rows: int, records: int, folder: Path) -> Shape:
    """Return MLPerf's shape with ``rows`` rows in each table, and a dataset of random records."""
    sizes = (rows,) * 26
    (data := folder / "mlperf").mkdir()
    np.savez(data / "day_fea_count.npz", counts=np.array(sizes))
    rng = np.random.default_rng(1)
    for split, count in {"train": records, "val": 20_000, "test": 20_000}.items():
        with (data / split_file_name(split)).open("wb") as file:  # type: ignore[arg-type]
            for start in range(0, count, 100_000):
                some = np.empty((min(100_000, count - start), 40), "<i4")
                some[:, 0] = rng.random(len(some)) < 0.1
                some[:, 1:14] = rng.integers(0, 100, (len(some), 13))
                some[:, 14:] = rng.integers(0, rows, (len(some), 26))
                file.write(some.tobytes())
    return Shape("mlperf", Architecture(sizes, 128, (13, 512, 256, 128), (1024, 1024, 512, 256, 1)), data, 0.1)


class Bare:
    """The bare steps of all contenders, which train one set of tables.

    Args:
        shape: model and data.
        optimizer: of all of them.
        reference: checkout of upstream, or None.
    """

    def __init__(self, shape: Shape, optimizer: str, reference: Path | None) -> None:
        torch.manual_seed(0)
        self._shape = shape
        model = DLRM(shape.architecture)
        tables = list(model.embedding_bags.parameters())
        shared = {id(table): table for table in tables}
        self._steps: dict[str, Callable[[ClickBatch], float]] = {}
        self.absent: dict[str, str] = {}
        if reference is not None:
            data = [table.detach() for table in tables]
            self._steps["reference"] = UpstreamStep(reference, shape.architecture, data, optimizer, _BARE_RATE)
        for contender in CONTENDERS:
            step = torch_or_native(contender, copy.deepcopy(model, dict(shared)), optimizer, _BARE_RATE)
            if isinstance(step, str):
                self.absent[contender.name] = step
            else:
                self._steps[contender.name] = step

    def times(self, size: int, threads: int, rounds: int) -> dict[str, float]:
        """Return the median seconds of a step, by contender."""
        torch.set_num_threads(threads)
        batches = self._shape.batches(size)
        found: dict[str, list[float]] = {name: [] for name in self._steps}
        for number in range(rounds):
            names = list(self._steps)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(_block(self._steps[name], batches))
        return {name: statistics.median(times) for name, times in found.items()}


def _block(step: Callable[[ClickBatch], float], batches: Sequence[ClickBatch]) -> float:
    """Return the median time of the steps of a block, whose first ones are not counted."""
    times = []
    began, number = time.perf_counter(), 0
    while number < _WARM_STEPS + 1 or time.perf_counter() - began < _BLOCK_S:
        before = time.perf_counter()
        step(batches[number % len(batches)])
        times.append(time.perf_counter() - before)
        number += 1
    return statistics.median(times[_WARM_STEPS:])


def fit_seconds(
    shape: Shape, optimizer: str, precision: str, size: int, steps: int, environment: Mapping[str, str], folder: Path
) -> float:
    """Return the seconds of a step of ``fit``, as a user runs it on a terminal.

    Raises:
        RuntimeError: ``fit`` failed; with its output.
    """
    architecture = shape.architecture
    model = {
        "embedding_dim": architecture.embedding_dim,
        "bottom_mlp": list(architecture.bottom_mlp),
        "top_mlp": list(architecture.top_mlp),
        "optimizer": optimizer,
        "learning_rate": shape.learning_rate,
    }
    found = fit_on_a_terminal(
        *(ROOT, "EpochTimes", model, shape.data),
        batch_size=size,
        precision=precision,
        steps=steps,
        environment=environment,
        folder=folder,
    )[-1]
    return float(found["seconds"] / found["steps"])


def whole_runs(shape: Shape, options: argparse.Namespace, size: int, threads: int, folder: Path) -> dict[str, float]:
    """Return the median seconds of a step of ``fit`` and of upstream's script, as processes in turn."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    available = DatasetFolder.open(shape.data).splits["train"].records
    steps = max(1, min(options.fit_rows, available) // size)
    script = None
    if options.reference is not None:
        script = Script(options.reference, shape.data, shape.architecture, options.optimizer, shape.learning_rate, {})
    found: dict[str, list[float]] = {}
    for _ in range(options.fit_repeats):
        with tempfile.TemporaryDirectory(dir=folder) as run:
            if script is not None:
                found.setdefault("reference_script", []).append(
                    script.seconds_a_step(size, steps, environment, Path(run))
                )
            for precision in options.fit_precision:
                seconds = fit_seconds(shape, options.optimizer, precision, size, steps, environment, Path(run))
                found.setdefault(FIT[precision], []).append(seconds)
    return {name: statistics.median(times) for name, times in found.items()}


def cell(seconds: Mapping[str, float], size: int) -> dict[str, int | None]:
    """Return samples a second of all contenders; None: not run."""
    names = ("reference", *(contender.name for contender in CONTENDERS), "fit", "fit_fp32", "reference_script")
    return {name: round(size / seconds[name]) if name in seconds else None for name in names}


def times_as_fast(speeds: Mapping[str, int | None]) -> dict[str, float | None]:
    """Return speeds relative to upstream: of bare steps to its bare step, of ``fit`` to its script."""
    found: dict[str, float | None] = {}
    for name, speed in speeds.items():
        base = speeds["reference_script" if name.startswith("fit") else "reference"]
        if not name.startswith("reference"):
            found[name] = round(speed / base, 2) if speed and base else None
    return found


def share_of_limit(
    speeds: Mapping[str, int | None], limits: Limits | None, architecture: Architecture, threads: int
) -> dict[str, float | None]:
    """Return speeds as shares of what the limits allow, of the native step and of ``fit``."""
    found: dict[str, float | None] = {}
    for name in ("native_fp32", "native_bf16", "fit"):
        speed = speeds[name]
        if limits is None or speed is None:
            found[name] = None
            continue
        found[name] = round(speed / limits.samples_per_s(architecture, threads, bf16=name != "native_fp32"), 3)
    return found


def print_cell(title: str, speeds: Mapping[str, int | None], ratios: Mapping[str, float | None], size: int) -> None:
    """Print one table."""
    print(f"\n{title}\n  {'':<20}{'ms a step':>12}{'samples/s':>12}{'x upstream':>12}")
    for name, speed in speeds.items():
        if speed:
            ratio = ratios.get(name)
            print(f"  {name:<20}{1e3 * size / speed:>12.3f}{speed:>12,}{f'{ratio:.2f}' if ratio else '':>12}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="checkout of upstream (facebookresearch/dlrm) to compare with")
    parser.add_argument("--shapes", nargs="+", choices=["quickstart", "mlperf", "v2"], default=["quickstart", "mlperf"])
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", help="default: 128 and 2048; 2048 and 16384 for mlperf; 2048 for v2"
    )
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads; default: one, then all")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of mlperf's tables, most rows of v2's")
    parser.add_argument("--rounds", type=int, default=7, help="blocks of each contender's steps")
    parser.add_argument("--fit-rows", type=int, default=200_000, help="training rows of an epoch of fit; 0: no fit")
    parser.add_argument("--fit-repeats", type=int, default=3, help="runs of fit and of upstream's script")
    parser.add_argument("--fit-precision", nargs="+", choices=list(FIT), default=["bf16-mixed"])
    parser.add_argument("--quickstart-data", type=Path, help="dataset of the quick start; default: it is made")
    parser.add_argument("--auroc", type=Path, help="output of training_auroc.py, whose last line is repeated")
    parser.add_argument("--folder", type=Path, help="where files go; default: the system's temporary folder")
    options = parser.parse_args()
    if options.reference is not None and not is_checkout(options.reference):
        parser.error(f"--reference {options.reference}: has no dlrm_s_pytorch.py")
    if options.rounds < 1 or options.fit_repeats < 1 or options.fit_rows < 0 or options.rows < 1:
        parser.error("--rounds, --fit-repeats and --rows must be at least 1, and --fit-rows 0 or more")
    return options


def main() -> None:
    """Measure and print."""
    options = arguments()
    counts = options.threads or sorted({1, torch.get_num_threads()})
    result: dict[str, Any] = {"optimizer": options.optimizer, "isa": native_isa()}
    result |= {"samples_per_s": {}, "x_reference": {}, "limit_share": {}, "limits": {}}
    with scratch_folder(options.folder) as name:
        folder = Path(name)
        for shape_name in options.shapes:
            if shape_name == "v2":
                # Bare steps of a second each: a few rounds take minutes.
                from training_v2 import measure_v2

                result["v2"] = measure_v2(options.batch_sizes or [2048], counts, options.rows, options.rounds, folder)
                continue
            sizes = options.batch_sizes or ([128, 2048] if shape_name == "quickstart" else [2048, 16384])
            if shape_name == "quickstart":
                shape = quickstart(options.quickstart_data, folder)
            else:
                shape = mlperf(options.rows, max(options.fit_rows, _BATCHES * min(sizes), max(sizes)), folder)
            measure(shape, sizes, counts, options, folder, result)
    result["auroc"] = json.loads(options.auroc.read_text().splitlines()[-1]) if options.auroc else None
    print(json.dumps(result | {"machine": machine()}))


def measure(
    shape: Shape,
    sizes: Sequence[int],
    counts: Sequence[int],
    options: argparse.Namespace,
    folder: Path,
    result: dict[str, Any],
) -> None:
    """Measure a shape, print it, and add it to the result."""
    architecture = shape.architecture
    limits = measure_limits(sum(architecture.table_sizes), architecture.embedding_dim, folder)
    print(f"\n{shape.name}: limits of one thread: {limits or 'not measured, there is no compiler'}")
    result["limits"][shape.name] = None if limits is None else limits.statement()
    bare = Bare(shape, options.optimizer, options.reference)
    for contender, reason in bare.absent.items():
        print(f"{contender}: not available, {reason}")
    seconds = {(size, count): bare.times(size, count, options.rounds) for size in sizes for count in counts}
    del bare  # Its tables, before fit has its own.
    for (size, count), found in seconds.items():
        if options.fit_rows:
            found |= whole_runs(shape, options, size, count, folder)
        speeds = cell(found, size)
        ratios, shares = times_as_fast(speeds), share_of_limit(speeds, limits, architecture, count)
        plural = "s" if count > 1 else ""
        print_cell(f"{shape.name}, batch {size:,}, {count} thread{plural}", speeds, ratios, size)
        print("  share of the limits: " + ", ".join(f"{key} {share}" for key, share in shares.items() if share))
        for key, value in (("samples_per_s", speeds), ("x_reference", ratios), ("limit_share", shares)):
            result[key].setdefault(shape.name, {}).setdefault(str(size), {})[str(count)] = value


if __name__ == "__main__":
    main()
