"""Compare the time that ``fit`` spends outside its native steps in several checkouts, in turn.

Each trains two epochs of the quick start's dataset with a progress bar on a terminal, CSVLogger and ModelCheckpoint;
the second epoch counts. The networks are so small that a native step of 128 samples takes a quarter of a millisecond on
a processor without AMX, as one of the quick start's networks does on a processor with AMX; ``--networks quickstart``
selects those. Where other programs use the machine, compare processor time: that of the training thread outside native
calls, and that of all other threads except the native steps' own (with one thread: the reader of batches and the
progress bar). The share in native calls is a share of all processor time; it would be 1 for bare steps.

With ``--bare``, many shorter epochs are each followed by as many bare steps in the same process, since a step of two
threads may take twice as long from one minute to the next on a shared or virtual machine. Prints the ratio of the two
with its quartiles over all epochs but the first of each run.

    PYTHONPATH=. python benchmarks/fit_overhead.py ../before . --repeats 5
    PYTHONPATH=. python benchmarks/fit_overhead.py . --networks quickstart --bare --threads 2 --steps 2000

A checkout must have been built. Prints microseconds per step, and JSON as the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from fit_run import fit_on_a_terminal
from machine import machine

from dlrm_pl.data.synthetic.synthesize import synthesize

MODEL = {"embedding_dim": 16, "bottom_mlp": [13, 16], "top_mlp": [8, 1], "learning_rate": 0.1}
NETWORKS: dict[str, dict[str, Any]] = {
    "small": MODEL,
    "quickstart": {
        "embedding_dim": 16,
        "bottom_mlp": [13, 128, 64, 16],
        "top_mlp": [256, 128, 1],
        "learning_rate": 1.0,
    },
}
NAMES = ("step", "in native calls", "beside them", "processor, this thread beside them", "processor, other threads")
SHARE = "share of the processor in native calls"
_BARE_EPOCHS = 21


def microseconds(found: dict[str, float], threads: int) -> dict[str, float]:
    """Return the microseconds per step of an epoch of ``fit``, by name, and the share of native calls."""
    beside = found["thread_processor_seconds"] - found["native_processor_seconds"]
    # The other threads of the native steps take about as long as this one.
    others = found["processor_seconds"] - beside - threads * found["native_processor_seconds"]
    seconds = (found["seconds"], found["native_seconds"], found["seconds"] - found["native_seconds"], beside, others)
    times = {name: 1e6 * value / found["steps"] for name, value in zip(NAMES, seconds, strict=True)}
    return times | {SHARE: threads * found["native_processor_seconds"] / found["processor_seconds"]}


def trained(checkout: Path, data: Path, options: argparse.Namespace) -> list[dict[str, float]]:
    """Return what a run of a checkout's ``fit`` wrote about each epoch.

    Raises:
        RuntimeError: ``fit`` failed; with its output.
    """
    threads = {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    with tempfile.TemporaryDirectory() as folder:
        return fit_on_a_terminal(
            *(checkout.resolve(), "BareTimes" if options.bare else "NativeTimes", NETWORKS[options.networks], data),
            batch_size=options.batch_size,
            precision="bf16-mixed",
            steps=options.steps,
            environment=os.environ | threads,
            folder=Path(folder),
            epochs=_BARE_EPOCHS if options.bare else 2,
        )


def print_overhead(runs: dict[str, list[list[dict[str, float]]]], threads: int) -> dict[str, dict[str, float]]:
    """Print the medians of each checkout's second epochs, and return them."""
    medians = {}
    for checkout, found in runs.items():
        epochs = [microseconds(run[-1], threads) for run in found]
        times = {name: round(statistics.median(one[name] for one in epochs), 3) for name in (*NAMES, SHARE)}
        microsecond = ", ".join(f"{name} {times[name]:,.0f} us" for name in NAMES)
        print(f"{checkout}: {microsecond}; {SHARE} {times[SHARE]:.1%}")
        medians[checkout] = times
    return medians


def print_beside_bare(runs: dict[str, list[list[dict[str, float]]]]) -> dict[str, dict[str, float]]:
    """Print and return the speed of each checkout's ``fit`` as a share of that of its bare steps, epoch by epoch."""
    quartiles = {}
    for checkout, found in runs.items():
        epochs = [epoch for run in found for epoch in run[1:]]
        low, middle, high = statistics.quantiles((one["bare_seconds"] / one["seconds"] for one in epochs), n=4)
        fit, bare = (
            statistics.median(1e6 * one[name] / one["steps"] for one in epochs) for name in ("seconds", "bare_seconds")
        )
        print(
            f"{checkout}: fit {fit:,.0f} us a step, bare {bare:,.0f} us; {middle:.1%} of the speed of bare steps "
            f"(quartiles {low:.1%} and {high:.1%} of {len(epochs)} epochs)"
        )
        quartiles[checkout] = {"fit": fit, "bare": bare, "share": middle, "quartiles": [low, high]}
    return quartiles


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="+", help="checkouts of this repository")
    parser.add_argument("--networks", choices=list(NETWORKS), default="small", help="the model's MLPs")
    parser.add_argument("--batch-size", type=int, default=128, help="training rows of a batch")
    parser.add_argument("--threads", type=int, default=1, help="threads of the native steps")
    parser.add_argument("--steps", type=int, default=5000, help="steps of an epoch")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each checkout")
    parser.add_argument("--bare", action="store_true", help="compare with bare steps in the same process")
    parser.add_argument("--data", type=Path, help="dataset of the quick start; default: it is made")
    options = parser.parse_args()
    found: dict[str, list[list[dict[str, float]]]] = {str(checkout): [] for checkout in options.checkouts}
    with tempfile.TemporaryDirectory() as name:
        if options.data is None:
            synthesize(Path(name) / "quickstart")
        data = (options.data or Path(name) / "quickstart").resolve()
        for _ in range(options.repeats):
            for checkout in options.checkouts:
                found[str(checkout)].append(trained(checkout, data, options))
    result = print_beside_bare(found) if options.bare else print_overhead(found, options.threads)
    names = ("networks", "batch_size", "threads", "steps", "repeats", "bare")
    settings = {name: getattr(options, name) for name in names}
    print(json.dumps({"us_a_step": result, **settings, "machine": machine()}))


if __name__ == "__main__":
    main()
