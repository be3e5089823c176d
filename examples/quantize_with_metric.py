"""Quantize a checkpoint with your own metric instead of AUROC.

    python examples/quantize_with_metric.py --ckpt_path runs/quickstart/model.ckpt --data datasets/quickstart \
        --output artifacts/by_metric

The metric here is the share of all clicks among the tenth of the rows that the model ranks first. Any torchmetrics
``Metric`` works: it gets probabilities in float64 and labels of 0 or 1. It has no confidence bound, so each trial is
scored on all tuning rows and its estimate decides. The certificate still states AUROC, log loss and calibration.
"""

from __future__ import annotations

import argparse

import torch
from torchmetrics import Metric

import dlrm_pl


class RecallOfTopTenth(Metric):
    """Share of the clicks among the tenth of the rows with the highest probabilities."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("probabilities", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: torch.Tensor, labels: torch.Tensor) -> None:
        """Keep a batch: probabilities, float64 ``[B]``, and labels, 0 or 1, ``[B]``."""
        self.probabilities.append(probabilities)
        self.labels.append(labels)

    def compute(self) -> torch.Tensor:
        """Return a share between 0 and 1, or NaN if there are no clicks, which fails the trial."""
        probabilities, labels = torch.cat(self.probabilities), torch.cat(self.labels)
        first = probabilities.topk(max(len(probabilities) // 10, 1)).indices
        return labels[first].sum() / labels.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description="Quantize a checkpoint by the recall of the top tenth.")
    parser.add_argument("--ckpt_path", required=True, help="checkpoint, as `dlrm-pl fit` writes it")
    parser.add_argument("--data", required=True, help="dataset folder that the model was trained on")
    parser.add_argument("--output", required=True, help="artifact folder to write")
    parser.add_argument("--relative", type=float, default=0.01, help="tolerated relative drop of the metric")
    options = parser.parse_args()

    module = dlrm_pl.load_checkpoint(options.ckpt_path)
    data = dlrm_pl.DLRMDataModule(options.data)
    settings = dlrm_pl.TuningSettings(criterion=dlrm_pl.Criterion(relative=options.relative))
    outcome = dlrm_pl.quantize(module, data, options.output, settings=settings, metric=RecallOfTopTenth())
    best = outcome.tuning.best
    print(f"trial {best.number} of {len(outcome.tuning.trials)}: {best.recipe.describe()}")
    print(f"{outcome.certificate.outcome}: {outcome.certificate.reason}")


if __name__ == "__main__":
    main()
