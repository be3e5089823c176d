"""The options of `sweep`, apart from those of `fit`; the docstring is their help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlrm_pl.sweep.settings import Pruner, Sampler


@dataclass(frozen=True)
class SweepOptions:
    """Search over the settings of a training: many short trainings, compared by their AUROC on val.

    Args:
        output: folder for the trials, the best settings (best.yaml) and the picture; the same command continues a
            sweep that was interrupted.
        space: settings to vary, by their names in the configuration, as in `model.learning_rate: {low: 0.001, high: 1,
            log: true}` or `model.embedding_dim: {choices: [8, 16]}`; by default learning rate, optimizers, embedding
            dimension and widths of the MLPs.
        max_trials: number of trials, including those of earlier runs; by default 20 if there is no timeout_s either,
            and all combinations of a grid.
        timeout_s: begin no trial after this number of seconds, including those of earlier runs; 0: no limit.
        rows_per_trial: rows that each trial trains on; by default as many as `fit` would.
        max_steps: the same in optimizer steps of the given batch size.
        validations: validations of each trial, after equal shares of its rows; by them trials are pruned.
        sampler: chooses the settings of a trial: Optuna's tpe, by what is known of earlier trials; random; or grid, all
            combinations in order.
        pruner: ends trials early: median, those below the median of complete trials after the same share of rows;
            hyperband; or none.
        seed: seed of the sampler; that of the trainings is --seed_everything.
        repeats: number of other seeds that the best and the given settings are trained with at the end, to tell a gain
            from noise; 0: none.
        overwrite: replace a sweep in the folder that was made with other settings.
        ckpt_path: not used, as trials train from the beginning; read so that configurations of `fit` can be given.
        weights_only: not used; read so that configurations of `fit` can be given.
    """

    output: str
    space: dict[str, Any] | None = None
    max_trials: int | None = None
    timeout_s: float = 0.0
    rows_per_trial: int | None = None
    max_steps: int | None = None
    validations: int = 8
    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    seed: int = 0
    repeats: int = 3
    overwrite: bool = False
    ckpt_path: str | None = None
    weights_only: bool = True


OPTIONS = tuple(SweepOptions.__dataclass_fields__)
"""Names of the options of `sweep`."""
