"""Compare the engines' test AUROC after one epoch, from the same weights, on the same batches; also upstream's.

For each seed all contenders start from the same weights and see the same batches in the same order, with the learning
rates of the run's schedule; upstream (facebookresearch/dlrm) starts from weights that it draws itself. Scores of test
come from an fp32 forward. Differences are to ``torch_fp32``, or the first contender. The shape ``dcn`` is the quick
start's with a cross network of three layers of rank 64 instead of dot products, trained by Adagrad as MLPerf's
DLRM-DCNv2.

    python benchmarks/training_auroc.py --seeds 10 --reference ../dlrm
    python benchmarks/training_auroc.py --contenders torch_fp32 native_fp32 native_bf16 --seeds 3
    python benchmarks/training_auroc.py --shape dcn --contenders torch_fp32 native_fp32 native_bf16
    python benchmarks/training_auroc.py --shape mlperf --seeds 10         # 4 million rows at MLPerf's shape: hours
    python benchmarks/training_auroc.py --nudges 12 --first-seed 2 --contenders native_fp32 native_bf16

Two runs that differ only in rounding diverge, so the difference between one pair of runs says little about an engine.
The contender ``torch_fp32_nudged`` shows how much: its weights start one part in a million away from the others'. With
``--nudges N`` each contender trains one seed from N such starts. The table that differs most between the runs is named,
with its distance from its start in each run when the learning rate began to fall, and the AUROC of that run.

Prints tables, and JSON as the last line.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from torch import Tensor
from training_steps import CONTENDERS, torch_or_native
from upstream_training import UpstreamStep, is_checkout

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.sampling import EpochSampler
from dlrm_pl.data.synthetic.synthesize import synthesize
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.optimizers.schedule import WarmupDecay

NUDGED = "torch_fp32_nudged"
NAMES = ("reference", *(contender.name for contender in CONTENDERS), NUDGED)
_NUDGE = 1e-6


@dataclass(frozen=True)
class Plan:
    """A model and how it is trained for one epoch.

    Attributes:
        architecture: of the model.
        batch_size: training rows of a step.
        optimizer: of tables and layers alike.
        epsilon: of the optimizer; None: its usual one.
        schedule: learning rates.
        folder: dataset.
    """

    architecture: Architecture
    batch_size: int
    optimizer: str
    epsilon: float | None
    schedule: WarmupDecay
    folder: DatasetFolder


@dataclass(frozen=True)
class Run:
    """The result of one training.

    Attributes:
        auroc: of test.
        moved: for each table, its distance from its start when the learning rate began to fall, in lengths of the
            start; empty for upstream.
        seconds: of the training.
    """

    auroc: float
    moved: tuple[float, ...]
    seconds: float


def plan_of(options: argparse.Namespace, folder: Path) -> Plan:
    """Return the plan of a shape; its dataset is made if it is not given."""
    is_mlperf, is_dcn = options.shape == "mlperf", options.shape == "dcn"
    if options.data is None:
        more: dict[str, Any] = (
            {"rows": options.rows * 4 // 3, "max_table_size": options.table_rows} if is_mlperf else {}
        )
        synthesize(folder / "data", **more)
    dataset = DatasetFolder.open(options.data or folder / "data")
    sizes = tuple(dataset.table_sizes)
    if is_mlperf:
        architecture = Architecture(sizes, 128, (13, 512, 256, 128), (1024, 1024, 512, 256, 1))
        steps = -(-dataset.splits["train"].records // 2048)
        schedule = WarmupDecay(4.0, steps // 5, steps // 2, steps - steps // 2)
        return Plan(architecture, 2048, "sgd", None, schedule, dataset)
    more_layers: dict[str, Any] = {"interaction": "dcn", "cross_layers": 3, "cross_rank": 64} if is_dcn else {}
    architecture = Architecture(sizes, 16, (13, 128, 64, 16), (256, 128, 1), **more_layers)
    rate = options.learning_rate or (0.01 if is_dcn else 1.0)
    optimizer, epsilon = ("adagrad", 1e-8) if is_dcn else ("sgd", None)
    return Plan(architecture, 128, optimizer, epsilon, WarmupDecay(rate, 0, 2860, 3000), dataset)


def train(plan: Plan, name: str, seed: int, nudge: int, reference: Path | None) -> Run | str:
    """Train for an epoch and score test; returns the reason if a contender does not run here."""
    torch.manual_seed(seed)
    model = DLRM(plan.architecture)
    if nudge:
        generator = torch.Generator().manual_seed(nudge)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + _NUDGE * torch.randn(parameter.shape, generator=generator))
    step: Any
    score: Callable[[ClickBatch], Tensor]
    if name == "reference":
        if reference is None:
            return "no --reference was given"
        if plan.architecture.interaction == "dcn":
            return "upstream has no cross network"
        np.random.seed(seed)
        bounds = [1 / math.sqrt(rows) for rows in plan.architecture.table_sizes]
        shape = (plan.architecture.embedding_dim,)
        tables = [
            torch.from_numpy(np.random.uniform(-bound, bound, (rows, *shape)).astype(np.float32))
            for rows, bound in zip(plan.architecture.table_sizes, bounds, strict=True)
        ]
        step = UpstreamStep(reference, plan.architecture, tables, "sgd", plan.schedule.base)
        score, set_rate = step.logits, step.set_rate
    else:
        contender = next(each for each in CONTENDERS if each.name == name.removesuffix("_nudged"))
        step = torch_or_native(contender, model, plan.optimizer, plan.schedule.base, plan.epsilon)
        if isinstance(step, str):
            return step
        score, set_rate = model, step.set_rate
    starts = [table.detach().clone() for table in model.embedding_bags.parameters()] if name != "reference" else []
    rows = ClickDataset.of_split(plan.folder, "train")
    began, moved = time.perf_counter(), tuple[float, ...]()
    for number, selection in enumerate(EpochSampler(len(rows), plan.batch_size, "batch")):
        if number == plan.schedule.decay_start_step:
            moved = tuple(
                float((table.detach() - start).norm() / start.norm())
                for table, start in zip(model.embedding_bags.parameters(), starts, strict=False)
            )
        set_rate(plan.schedule.base * plan.schedule.factor(number))
        step(rows[selection])
    seconds = time.perf_counter() - began
    scores, labels = [], []
    with torch.no_grad():
        for batch in ClickDataset.of_split(plan.folder, "test").batches(16384):
            scores.append(score(batch))
            labels.append(batch.known_labels)
    return Run(exact_auroc(torch.cat(scores), torch.cat(labels)), moved, seconds)


def compare(plan: Plan, names: Sequence[str], seeds: Sequence[int], reference: Path | None) -> dict[str, Any]:
    """Train all contenders from each seed, print a table, and return it."""
    aurocs: dict[str, dict[int, float]] = {name: {} for name in names}
    print(f"{'seed':>6}" + "".join(f"{name:>20}" for name in names), flush=True)
    for seed in seeds:
        line = f"{seed:>6}"
        for name in names:
            run = train(plan, name, seed, seed if name == NUDGED else 0, reference)
            if isinstance(run, str):
                line += f"{'-':>20}"
                continue
            aurocs[name][seed] = run.auroc
            line += f"{run.auroc:>20.6f}"
        print(line, flush=True)
    differences = {}
    of = "torch_fp32" if "torch_fp32" in names else names[0]
    base = aurocs[of]
    for name, found in aurocs.items():
        values = [found[seed] - base[seed] for seed in found if seed in base]
        if name != of and values:
            differences[name] = summary(values)
            one = differences[name]
            print(
                f"{name} - {of}: mean {one['mean']:+.6f}, standard error {one['standard_error']}, worst "
                f"{one['worst']:+.6f}, of {len(values)}"
            )
    if len(base) > 1:
        print(f"{of} over seeds: standard deviation {statistics.stdev(base.values()):.6f}")
    return {"aurocs": aurocs, "differences": differences}


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean, its standard error (None for one value), and the lowest of differences."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {
        "mean": round(statistics.fmean(values), 6),
        "standard_error": None if error is None else round(error, 6),
        "worst": round(min(values), 6),
    }


def nudged(plan: Plan, names: Sequence[str], seed: int, nudges: int) -> dict[str, Any]:
    """Train one seed from starts that hardly differ, print a table, and return it."""
    found: dict[str, Any] = {}
    everything: list[Run] = []
    for name in names:
        runs = [run for nudge in range(nudges) if not isinstance(run := train(plan, name, seed, nudge, None), str)]
        if not runs:
            continue
        everything += runs
        aurocs = [run.auroc for run in runs]
        found[name] = {"aurocs": [round(auroc, 6) for auroc in aurocs], "moved": [run.moved for run in runs]}
        spread = f", standard deviation {statistics.stdev(aurocs):.6f}" if len(runs) > 1 else ""
        print(
            f"{name}: {len(runs)} starts, mean {statistics.fmean(aurocs):.6f}{spread}, from {min(aurocs):.6f} to "
            f"{max(aurocs):.6f}",
            flush=True,
        )
    if len(everything) > 2:
        moved = np.array([run.moved for run in everything])
        late = int((moved.std(axis=0) / moved.mean(axis=0)).argmax())
        aurocs_of_all = np.array([run.auroc for run in everything])
        correlation = float(np.corrcoef(moved[:, late], aurocs_of_all)[0, 1])
        rows = plan.architecture.table_sizes[late]
        print(f"table {late} ({rows} rows) differs most between the runs when the decay begins;")
        print(f"correlation of its distance from the start with the AUROC: {correlation:.3f}")
        for run in sorted(everything, key=lambda each: each.auroc):
            print(f"  moved {run.moved[late]:.3f}   AUROC {run.auroc:.6f}")
        found |= {"table": late, "correlation": round(correlation, 3)}
    return found


def main() -> None:
    """Train, print, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["quickstart", "dcn", "mlperf"], default="quickstart")
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--nudges", type=int, default=0, help="starts of one seed; 0: compare seeds")
    parser.add_argument("--learning-rate", type=float, help="before its decay; not for mlperf's shape [1.0; dcn 0.01]")
    parser.add_argument("--rows", type=int, default=4_000_000, help="training rows of mlperf's shape")
    parser.add_argument("--table-rows", type=int, default=200_000, help="most rows of a table of mlperf's shape")
    parser.add_argument("--data", type=Path, help="dataset folder; default: it is made")
    parser.add_argument("--reference", type=Path, help="checkout of upstream (facebookresearch/dlrm)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if options.reference is not None and not is_checkout(options.reference):
        parser.error(f"--reference {options.reference}: has no dlrm_s_pytorch.py")
    if options.seeds < 1 or options.nudges < 0:
        parser.error("--seeds must be at least 1, and --nudges 0 or more")
    torch.set_num_threads(options.threads)
    names = [name for name in options.contenders if name != "reference" or options.reference is not None]
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(options, Path(folder))
        if options.nudges:
            found = nudged(plan, [name for name in names if name != NUDGED], options.first_seed, options.nudges)
        else:
            seeds = range(options.first_seed, options.first_seed + options.seeds)
            found = compare(plan, names, seeds, options.reference)
    print(json.dumps({"shape": options.shape, "threads": options.threads, **found, "machine": machine()}))


if __name__ == "__main__":
    main()
