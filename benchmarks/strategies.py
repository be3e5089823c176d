"""Compare the strategies of the search on a trained model: the trials that each needs, and the model it finds.

Searches from two starts: all int8, and with int4 tables; with ``--unequal_channels``, two Linears are hard to quantize.
Each search looks for the smallest model within the tolerance until ``--max_trials`` or the end of its strategy
(``stop_at: budget``). Prints a line for each search and JSON as the last line.

    make quickstart
    python benchmarks/strategies.py --ckpt_path runs/quickstart/model.ckpt --data datasets/quickstart
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import nn

from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.load import load_dlrm
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.ptq.prepare import linear_layers
from dlrm_pl.quantization.ptq.quantize import table_packer
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.strategies import STRATEGIES
from dlrm_pl.quantization.search.tune import TuningSettings, tune
from dlrm_pl.runtime.int8_dlrm import fp32_bytes


def unequal_channels(model: DLRM, factor: float) -> None:
    """Make two Linears hard to quantize, ``bottom_mlp.1`` and ``top_mlp.1``, without changing what the model computes.

    One input channel of each becomes ``factor`` times as large, and its weights after the ReLU as much smaller. This
    channel takes up the range of the activations, and the other channels share the steps that are left.
    """
    for mlp in (model.bottom_mlp, model.top_mlp):
        (before, _), (after, _) = list(linear_layers(mlp))[:2]
        for linear in (before, after):  # A checkpoint is mapped, and cannot be written to.
            linear.weight, linear.bias = nn.Parameter(linear.weight.clone()), nn.Parameter(linear.bias.clone())
        with torch.no_grad():
            channel = int(before.weight.norm(dim=1).argmax())
            before.weight[channel] *= factor
            before.bias[channel] *= factor
            after.weight[:, channel] /= factor


def search(
    model: DLRM, data: DLRMDataModule, packer: TablePacker, settings: TuningSettings, start: str
) -> dict[str, Any]:
    """Run a search and return its numbers."""
    began = time.perf_counter()
    calibration, evaluation = data.calibration_dataloader(), AUROCEvaluation(data.tuning_dataloader())
    result = tune(model, calibration, evaluation, settings, packer=packer)
    accepted = [trial.number for trial in result.trials if trial.accepted]
    return {
        "strategy": settings.strategy,
        "start": start,
        "trials": len(result.trials),
        "first_accepted": accepted[0] if accepted else None,
        "best_trial": result.best.number if accepted else None,
        "accepted": len(accepted),
        "bytes_share": round(result.best.model_bytes / fp32_bytes(model), 4) if accepted else None,
        "drop_relative": round(result.best.drop / result.baseline.value, 6),
        "seconds": round(time.perf_counter() - began, 1),
        "seconds_in_trials": round(sum(trial.seconds for trial in result.trials), 1),
        "recipe": result.best.recipe.describe(),
        "stopped_because": result.stopped_because,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--relative", type=float, default=0.001)
    parser.add_argument("--max_trials", type=int, default=40)
    parser.add_argument("--tables", nargs="+", default=["int8", "int4"], help="dtypes of the tables in the starts")
    parser.add_argument("--strategies", nargs="+", default=sorted(STRATEGIES))
    parser.add_argument("--unequal_channels", type=float, default=1.0, metavar="FACTOR")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_dlrm(args.ckpt_path).eval()
    if args.unequal_channels != 1:
        unequal_channels(model, args.unequal_channels)
    data = DLRMDataModule(str(args.data))
    data.setup("test")
    packer = table_packer(model)
    searches = []
    for tables in args.tables:
        for strategy in args.strategies:
            settings = TuningSettings(
                recipe=RecipeStart(tables=tables),
                criterion=Criterion(relative=args.relative),
                strategy=strategy,
                max_trials=args.max_trials,
                stop_at="budget",
            )
            found = search(model, data, packer, settings, f"{tables} tables")
            searches.append(found)
            print(json.dumps(found), flush=True)
    arguments = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    print(json.dumps({"searches": searches, "arguments": arguments, "machine": machine()}))


if __name__ == "__main__":
    main()
