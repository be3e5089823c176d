"""Compare what ``fit`` spends beside its native steps in several checkouts, in turn.

Each trains two epochs of the quick start's dataset with a progress bar on a terminal, CSVLogger and ModelCheckpoint; of
these the second counts. The networks are so small that a native step of 128 samples takes a quarter of a millisecond on
a processor without AMX, as one of the quick start's networks does on a processor with AMX; ``--networks quickstart``
takes those. Where other programs use the machine, compare processor time: that of the training thread outside of native
calls, and that of all other threads but the native steps' own (with one thread: the reader of batches and the progress
bar). The share in native calls is that of all processor time; 1 would be the bare steps.

    PYTHONPATH=. python benchmarks/fit_overhead.py ../before . --repeats 5

A checkout must have been built. Prints microseconds a step, and JSON as the last line.
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


def microseconds(
    checkout: Path, data: Path, folder: Path, *, networks: str, batch_size: int, steps: int, threads: int
) -> dict[str, float]:
    """Return the microseconds a step of a checkout's ``fit``, by name, and the share of native calls.

    Raises:
        RuntimeError: ``fit`` failed; with its output.
    """
    found = fit_on_a_terminal(
        *(checkout, "NativeTimes", NETWORKS[networks], data),
        batch_size=batch_size,
        precision="bf16-mixed",
        steps=steps,
        environment=os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        folder=folder,
    )
    beside = found["thread_processor_seconds"] - found["native_processor_seconds"]
    # Other threads of the native steps take as long as this one, about.
    others = found["processor_seconds"] - beside - threads * found["native_processor_seconds"]
    seconds = (found["seconds"], found["native_seconds"], found["seconds"] - found["native_seconds"], beside, others)
    times = {name: 1e6 * value / found["steps"] for name, value in zip(NAMES, seconds, strict=True)}
    return times | {SHARE: threads * found["native_processor_seconds"] / found["processor_seconds"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="+", help="checkouts of this repository")
    parser.add_argument("--networks", choices=list(NETWORKS), default="small", help="the model's MLPs")
    parser.add_argument("--batch-size", type=int, default=128, help="training rows of a batch")
    parser.add_argument("--threads", type=int, default=1, help="threads of the native steps")
    parser.add_argument("--steps", type=int, default=5000, help="steps of an epoch")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each checkout")
    parser.add_argument("--data", type=Path, help="dataset of the quick start; default: it is made")
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {str(checkout): [] for checkout in options.checkouts}
    with tempfile.TemporaryDirectory() as name:
        if options.data is None:
            synthesize(Path(name) / "quickstart")
        data = (options.data or Path(name) / "quickstart").resolve()
        for _ in range(options.repeats):
            for checkout in options.checkouts:
                with tempfile.TemporaryDirectory() as run:
                    times = microseconds(
                        *(checkout.resolve(), data, Path(run)),
                        networks=options.networks,
                        batch_size=options.batch_size,
                        steps=options.steps,
                        threads=options.threads,
                    )
                found[str(checkout)].append(times)
    medians = {
        checkout: {name: round(statistics.median(times[name] for times in runs), 3) for name in (*NAMES, SHARE)}
        for checkout, runs in found.items()
    }
    for checkout, times in medians.items():
        print(
            f"{checkout}: "
            + ", ".join(f"{name} {times[name]:,.0f} us" for name in NAMES)
            + f"; {SHARE} {times[SHARE]:.1%}"
        )
    names = ("networks", "batch_size", "threads", "steps", "repeats")
    settings = {name: getattr(options, name) for name in names}
    print(json.dumps({"us_a_step": medians, **settings, "machine": machine()}))


if __name__ == "__main__":
    main()
