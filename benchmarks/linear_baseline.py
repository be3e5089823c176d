"""Train a linear model on a dataset folder: DLRM with its interaction must reach a higher AUROC.

Logistic regression on one-hot categories, the dense features after their transform, and a flag for each dense feature
that is zero or missing. Trains with each learning rate and number of passes of a small grid, chooses by the AUROC on
val, and reports the AUROC on test.

    python benchmarks/linear_baseline.py --data datasets/quickstart
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from machine import machine
from torch import Tensor, nn

from dlrm_pl.data.formats.binary_format import LABEL, Split, open_records
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.model_inputs import dense_inputs
from dlrm_pl.metrics.ranking import exact_auroc

_READ_ROWS = 1 << 16


class Rows:
    """A split in memory: ``dense`` and zero flags float32 ``[rows, 2 * N]``, rows of one joint table, and labels."""

    def __init__(self, folder: DatasetFolder, split: Split) -> None:
        columns = folder.columns
        if not columns.is_one_hot:
            raise SystemExit(f"{folder.path}: has lists, which this baseline does not read")
        records = open_records(folder.split_path(split), columns)
        first_row = np.concatenate([[0], np.cumsum(folder.table_sizes)[:-1]])
        dense, indices, labels = [], [], []
        for start in range(0, len(records), _READ_ROWS):
            chunk = np.asarray(records[start : start + _READ_ROWS])
            inputs = dense_inputs(chunk[:, columns.dense_fields], columns)
            dense.append(np.concatenate([inputs, (inputs == 0).astype(np.float32)], axis=1))
            indices.append(chunk[:, columns.sparse_fields] + first_row)
            labels.append(chunk[:, LABEL].astype(np.float32))
        self.dense = torch.from_numpy(np.concatenate(dense))
        self.indices = torch.from_numpy(np.concatenate(indices))
        self.labels = torch.from_numpy(np.concatenate(labels))


class LogisticRegression(nn.Module):
    """A bias, a weight for each dense input, and a weight for each row of each table; all zero at first."""

    def __init__(self, num_inputs: int, num_rows: int, base_rate: float) -> None:
        super().__init__()
        self.dense = nn.Linear(num_inputs, 1)
        nn.init.zeros_(self.dense.weight)
        nn.init.constant_(self.dense.bias, float(np.log(base_rate / (1 - base_rate))))
        self.sparse = nn.EmbeddingBag(num_rows, 1, mode="sum", sparse=True)
        nn.init.zeros_(self.sparse.weight)

    def forward(self, dense: Tensor, indices: Tensor) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = (self.dense(dense) + self.sparse(indices)).squeeze(1)
        return logits


def train(rows: Rows, num_rows: int, learning_rate: float, passes: int, batch_size: int) -> LogisticRegression:
    """Train by SGD in the order of the file, with a learning rate that falls linearly to zero."""
    model = LogisticRegression(rows.dense.shape[1], num_rows, float(rows.labels.mean()))
    starts = list(range(0, len(rows.labels), batch_size)) * passes
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for step, start in enumerate(starts):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / len(starts))
        batch = slice(start, start + batch_size)
        loss = F.binary_cross_entropy_with_logits(model(rows.dense[batch], rows.indices[batch]), rows.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def score(model: LogisticRegression, rows: Rows) -> float:
    with torch.inference_mode():
        return float(exact_auroc(model(rows.dense, rows.indices), rows.labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    folder = DatasetFolder.open(options.data)
    train_rows, val_rows, test_rows = (Rows(folder, split) for split in ("train", "val", "test"))
    # Standardized with the mean and deviation of train, so that one learning rate suits all columns.
    center, scale = train_rows.dense.mean(0), train_rows.dense.std(0).clamp_min(1e-3)
    for rows in (train_rows, val_rows, test_rows):
        rows.dense.sub_(center).div_(scale)

    trials = []
    for passes in options.passes:
        for learning_rate in options.learning_rates:
            start = time.perf_counter()
            model = train(train_rows, sum(folder.table_sizes), learning_rate, passes, options.batch_size)
            train_s = time.perf_counter() - start
            trial = {"learning_rate": learning_rate, "passes": passes, "train_s": round(train_s, 1)}
            trial |= {"val_auroc": score(model, val_rows), "test_auroc": score(model, test_rows)}
            trials.append(trial)
            print(
                f"learning rate {learning_rate:g}, {passes} passes: val {trial['val_auroc']:.4f}, {train_s:.1f} s",
                flush=True,
            )
    chosen = max(trials, key=lambda trial: trial["val_auroc"])
    best = folder.best_possible_auroc.get("test")
    print(f"linear model: test AUROC {chosen['test_auroc']:.4f}; best possible: {best if best else 'unknown'}")
    print(
        json.dumps(
            {
                "data": str(options.data),
                "best_possible_test_auroc": best,
                "chosen": chosen,
                "trials": trials,
                "machine": machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
