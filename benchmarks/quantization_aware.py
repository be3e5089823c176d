"""Train a model in floats and with the rounding of a recipe, quantize both, and compare their AUROC on test.

python benchmarks/quantization_aware.py --data datasets/quickstart --seeds 1 2 3 --dim 4 --recipe '{"tables": "int4"}'

Both models of a seed start from the same weights and see the same rows in the same order. 'post-training' is the float
model quantized by the recipe, 'aware' the model of QuantizationAwareTraining quantized by the recipe and the ranges
that it was trained with. Drops are from the float model's AUROC, in percent of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from typing import Any

import torch
from machine import machine
from torch import nn

from dlrm_pl import DLRMDataModule, DLRMModule, DLRMTrainer, ExactAUROC, QuantizationAwareTraining, RecipeStart
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.ptq.trained import TrainedQuantization
from dlrm_pl.quantization.recipe import Recipe


def train(
    options: argparse.Namespace, seed: int, aware: RecipeStart | None
) -> tuple[DLRMModule, DLRMDataModule, float]:
    """Train one epoch; returns the module, its data and the seconds."""
    torch.manual_seed(seed)
    data = DLRMDataModule(
        options.data, batch_size=options.batch_size, eval_batch_size=16384, shuffle="batch", seed=seed
    )
    steps = -(-data.folder.splits["train"].records // options.batch_size)
    module = DLRMModule(
        data.table_sizes,
        embedding_dim=options.dim,
        bottom_mlp=(0, 128, 64, options.dim),
        top_mlp=(256, 128, 1),
        learning_rate=options.learning_rate,
        lr_decay_start_step=steps // 2,
        lr_num_decay_steps=steps - steps // 2,
        columns=data.columns,
        engine="torch",  # It can train with rounding, so both runs are the same until rounding begins.
    )
    first = int(options.first_share * steps)
    callbacks = [] if aware is None else [QuantizationAwareTraining(aware, first, options.observe_every)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = DLRMTrainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0, callbacks=callbacks,
            default_root_dir=folder,
        )  # fmt: skip
        began = time.perf_counter()
        trainer.fit(module, datamodule=data)
    return module.eval(), data, time.perf_counter() - began


def auroc(model: nn.Module, data: DLRMDataModule) -> float:
    """AUROC on test."""
    metric = ExactAUROC()
    with torch.inference_mode():
        for batch in data.test_dataloader():
            metric.update(model(batch), batch.known_labels)
    return float(metric.compute())


def compare(options: argparse.Namespace, seed: int, start: RecipeStart) -> dict[str, float]:
    """AUROC of the three models of a seed."""
    plain, data, plain_s = train(options, seed, None)
    aware, _, aware_s = train(options, seed, start)
    recipe = Recipe.starting_from(start, plain.architecture)
    post = quantize(
        plain.model, recipe, ActivationRanges(plain.model, data.calibration_dataloader()), table_packer(plain.model)
    )
    trained = TrainedQuantization.of(aware.model)
    assert trained is not None
    ranges = ActivationRanges(aware.model, data.calibration_dataloader())
    return {
        "float": auroc(plain.model, data),
        "post-training": auroc(post, data),
        "aware": auroc(quantize(aware.model, trained.recipe, ranges, table_packer(aware.model)), data),
        "float weights of aware": auroc(aware.model, data),
        "time": aware_s / plain_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="datasets/quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1.0)
    parser.add_argument("--first-share", type=float, default=0.0, help="share of the steps before rounding begins")
    parser.add_argument("--observe-every", type=int, default=500)
    parser.add_argument("--recipe", default="{}", help="fields of RecipeStart as JSON")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = RecipeStart(**json.loads(options.recipe))
    runs: list[dict[str, Any]] = []
    for seed in options.seeds:
        scores = compare(options, seed, start)
        drops = {
            f"{name}, drop in %": round(100 * (1 - scores[name] / scores["float"]), 4)
            for name in ("post-training", "aware", "float weights of aware")
        }
        runs.append({"seed": seed, "float": round(scores["float"], 6), **drops, "time": round(scores["time"], 2)})
        print(json.dumps(runs[-1]), flush=True)
    names = [name for name in runs[0] if name != "seed"]
    means = {name: round(statistics.mean(run[name] for run in runs), 4) for name in names}
    settings = {name: value for name, value in vars(options).items() if name != "data"}
    print(json.dumps({"settings": settings, "runs": runs, "means": means, "machine": machine()}))


if __name__ == "__main__":
    main()
