"""Options of `sweep` in addition to those of `fit`; the class docstring is their help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlrm_pl.sweep.settings import Pruner, Sampler


@dataclass(frozen=True)
class SweepOptions:
    """Search for better training settings: many short training runs, compared by their AUROC on val.

    Args:
        output: folder for the trials, the best settings (best.yaml) and the picture; the same command continues an
            interrupted sweep.
        space: settings to vary, by their names in the configuration, as in `model.learning_rate: {low: 0.001, high: 1,
            log: true}` or `model.embedding_dim: {choices: [8, 16]}`; by default learning rate, optimizers, embedding
            dimension and widths of the MLPs.
        max_trials: number of trials, including those of earlier runs; by default 20 if no timeout_s is given either,
            and for a grid all combinations.
        timeout_s: start no trial after this number of seconds, including those of earlier runs; 0: no limit.
        rows_per_trial: rows that each trial trains on; by default as many as `fit` would.
        max_steps: the same, in optimizer steps of the given batch size.
        validations: number of validations in each trial, after equal shares of its rows; trials are pruned by them.
        sampler: how the settings of a trial are chosen: tpe (Optuna's, which learns from earlier trials), random, or
            grid (all combinations in order).
        pruner: how trials are ended early: median (those below the median of complete trials after the same share of
            rows), hyperband, or none.
        seed: seed of the sampler; the training runs use --seed_everything.
        repeats: number of other seeds with which the best and the given settings are trained at the end, to tell a gain
            from noise; 0: none.
        overwrite: replace a sweep in the folder that was made with other settings.
        ckpt_path: not used, because trials train from the beginning; accepted so that configurations of `fit` can be
            given.
        weights_only: not used; accepted so that configurations of `fit` can be given.
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
