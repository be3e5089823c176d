"""One process of a contender of scale.py: trains, and writes what it measured."""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from wire import sent_bytes

import dlrm_pl
from dlrm_pl.batch import ClickBatch
from dlrm_pl.distributed.strategy import ShardedStrategy
from dlrm_pl.model.training.weight_init import weights_on_shards

TABLES = 26
DENSE = 13
DIM = 128
BOTTOM, TOP = [DENSE, 512, 256, DIM], [1024, 1024, 512, 256, 1]
MODEL: dict[str, Any] = {}  # More arguments of the module.
WARM_STEPS = 3
MEMORY = 64 << 30  # The plan must depend on the shape alone.
ENGINE = ("fbgemm::", "split_", "bounds_check", "SplitLookup", "embedding", "permute", "block_bucketize")
PRODUCTS = ("addmm", "mm", "bmm", "linear", "threshold_backward", "relu", "baddbmm")
EXCHANGE = ("gloo:", "c10d::", "All2All", "ReduceScatter", "AllGather")


def batches(rows: int, batch_size: int, steps: int, rank: int, ranks: int) -> Iterator[ClickBatch]:
    """Make batches of random rows; the processes' batches of a step are one batch of a single process."""
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        indices = torch.randint(0, rows, (TABLES, batch_size), generator=generator)
        dense = torch.rand(batch_size, DENSE, generator=generator)
        labels = torch.randint(0, 2, (batch_size,), generator=generator).float()
        size = batch_size // ranks
        own = slice(rank * size, (rank + 1) * size)
        yield ClickBatch(dense=dense[own], indices=indices[:, own].contiguous(), offsets=None, labels=labels[own])


class Timer(pl.Callback):
    """Measures the time, the processor time and the bytes of the steps after the first ones."""

    begin = end = (0.0, 0.0, 0)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Begin after the first steps."""
        if batch_idx == WARM_STEPS:
            self.begin = (time.perf_counter(), time.process_time(), sent_bytes())

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End after the last step."""
        self.end = (time.perf_counter(), time.process_time(), sent_bytes())


def work(args: argparse.Namespace) -> None:
    """Train, and write what was measured."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    sharded = args.contender != "native"

    torch.manual_seed(0)
    with weights_on_shards() if sharded else nullcontext():
        engine: Literal["torch", "native"] = "torch" if sharded else "native"
        module = dlrm_pl.DLRMModule([args.rows] * TABLES, DIM, BOTTOM, TOP, learning_rate=0.1, engine=engine, **MODEL)
    timer = Timer()
    trainer = dlrm_pl.DLRMTrainer(
        accelerator="cpu",
        devices=ranks,
        strategy=ShardedStrategy(sharding=args.contender, memory=str(MEMORY)) if sharded else "auto",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[timer],
    )
    # Made beforehand, and not timed.
    loader = DataLoader([*batches(args.rows, args.batch_size, WARM_STEPS + args.steps, rank, ranks)], batch_size=None)
    profiler = profile(activities=[ProfilerActivity.CPU]) if args.profile else nullcontext()
    with profiler:
        trainer.fit(module, loader)
    seconds = timer.end[0] - timer.begin[0]
    found: dict[str, Any] = {
        "samples_per_s": args.steps * args.batch_size / seconds,
        "processor_s": (timer.end[1] - timer.begin[1]) / args.steps,
        "sent_bytes": round((timer.end[2] - timer.begin[2]) / args.steps),
        "peak_rss_mb": round(_peak_bytes() / 1e6),
    }
    if args.profile:
        found["profile"] = _shares(profiler)
    Path(args.folder, f"{rank}.json").write_text(json.dumps(found))
    if args.weights:
        bags = module.model.embedding_bags
        parts = (
            [tuple(part) for part in bags.parts()]
            if sharded
            else [(table, 0, 0, weight.detach()) for table, weight in enumerate(bags.parameters())]
        )
        mlps = {name: value.detach() for name, value in module.named_parameters() if "embedding_bags" not in name}
        torch.save({"parts": parts, "mlps": mlps}, Path(args.folder, f"{rank}.pt"))


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM.")


def _shares(profiler: Any) -> dict[str, float]:
    """Return the seconds of a profile by what they are spent on."""
    seconds = {"lookup_and_update": 0.0, "exchange": 0.0, "mlps": 0.0, "other_operators": 0.0}
    for event in profiler.key_averages():
        name = event.key
        if any(part in name for part in EXCHANGE):
            kind = "exchange"
        elif any(part in name for part in ENGINE):
            kind = "lookup_and_update"
        elif name.removeprefix("aten::") in PRODUCTS:
            kind = "mlps"
        else:
            kind = "other_operators"
        seconds[kind] += event.self_cpu_time_total / 1e6
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", help="a sharding, or native")
    parser.add_argument("folder")
    for name in ("rows", "batch-size", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("weights", "profile"):
        parser.add_argument(f"--{name}", action="store_true")
    work(parser.parse_args())
