"""Strategy ``budget``: measure each op's drop alone, solve for the cheapest model, and correct by real trials."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from statistics import NormalDist

import numpy as np

from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.recipe_bytes import op_bytes
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.knapsack import Choice, allocate
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.sensitivity.auroc_drop import Sensitivity
from dlrm_pl.runtime.tables import row_bytes

# Number of blocks of the sequential test on which sensitivities are measured.
_BLOCKS = 2
# After a rejected solution, the next target is this share of the rejected one; after an accepted one, the geometric
# mean of the accepted and the rejected target.
_SHRINK = 0.6
_SMALLEST_TARGET = 1e-3
_REFINEMENTS = 6
# A byte of a table row takes longer than a byte of a weight: rows come from memory, weights stay in the cache.
_MEMORY_FACTOR = 16
_VALUE_BYTES = {"int8": 1.0, "int4": 0.5, "bf16": 2.0, "fp16": 2.0, "fp32": 4.0}


def budget(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Propose the cheapest recipe that is predicted to be within tolerance, then others until a trial confirms one.

    1. Measure the drop of each op alone in each dtype of the space: in one pass if the score is AUROC
       (``context.sensitivities``), with one evaluation each if it is the user's own (``context.scored_drops``).
    2. Predict the drop of a recipe as the sum over its ops (for AUROC see ``predicted_drops``), and solve for the
       lowest cost within the tolerance.
    3. While solutions are rejected, solve for smaller tolerances. Once one is accepted, continue between the accepted
       and the rejected tolerance for a cheaper one.
    """
    drops = _drops(context)
    choices = {
        op: [Choice(dtype, _cost(context, op, dtype), drops.get((op, dtype), 0.0)) for dtype in dtypes]
        for op, dtypes in context.space.dtypes.items()
    }
    target, accepted, rejected, steps = 1.0, 0.0, math.inf, 0
    tried: dict[Recipe, Trial] = {}
    while target > _SMALLEST_TARGET and steps < _REFINEMENTS:
        recipe = _recipe(context.start, allocate(choices, target * context.tolerance))
        trial = tried.get(recipe) or (yield recipe)
        tried[recipe] = trial
        if trial.accepted:
            accepted = max(accepted, target)
        else:
            rejected = min(rejected, target)
        if not accepted:
            target = rejected * _SHRINK
            continue
        steps += 1
        # Everything was accepted so far: the predictions are too high, so the target may exceed the tolerance.
        target = accepted / _SHRINK if math.isinf(rejected) else math.sqrt(accepted * rejected)
    if not accepted:
        yield _recipe(context.start, allocate(choices, 0.0))


def _drops(context: SearchContext) -> dict[tuple[str, str], float]:
    """Drop of the score by each op alone in each dtype."""
    changes = [(op, dtype) for op, dtypes in context.space.dtypes.items() for dtype in dtypes if dtype != "fp32"]
    if not changes:
        return {}
    if context.drop_of is not None:
        return context.scored_drops(changes)
    rows = _BLOCKS * context.criterion.first_block
    return predicted_drops(context.sensitivities(changes, rows), gain(context, rows))


def predicted_drops(measured: Sequence[Sensitivity], gain: float) -> dict[tuple[str, str], float]:
    """Predict the drop of each change from its measurements.

    The standard error of a single measured drop is larger than the drop, all the more for a sum of 60 of them. The
    noise that a change causes in the logits is known far better, and AUROC falls in proportion to its variance as long
    as it is small. So the predicted drop of a change is its mean squared error times one factor, which is fitted to all
    drops, weighted by their standard errors, and is at least a quarter of ``gain``. A measured drop that is more than
    two standard errors larger counts instead, less these two.
    """
    weights = [1 / max(sensitivity.standard_error, 1e-12) ** 2 for sensitivity in measured]
    squares = sum(w * s.logit_mse**2 for w, s in zip(weights, measured, strict=True))
    products = sum(w * s.logit_mse * s.drop for w, s in zip(weights, measured, strict=True))
    factor = max(products / squares if squares else 0.0, gain / 4)
    return {(s.op, s.dtype): max(factor * s.logit_mse, s.drop - 2 * s.standard_error) for s in measured}


def gain(context: SearchContext, rows: int) -> float:
    """Return the AUROC drop per unit of noise variance in the logits, if these were normal in both classes.

    With AUROC = Phi(z) and logits of variance s^2 within a class, noise of variance v gives Phi(z / sqrt(1 + v / s^2)),
    whose derivative at 0 is phi(z) * z / (2 s^2).
    """
    tuning_rows = context.rows
    assert tuning_rows is not None  # Otherwise nothing would have been measured.
    read = tuning_rows.read_fp32(rows)
    labels = tuning_rows.labels(read).astype(bool)
    logits = tuning_rows.fp32(read).astype(np.float64)
    variance = (np.var(logits[labels]) + np.var(logits[~labels])) / 2
    auroc = min(max(exact_auroc(logits, labels), 0.5), 1 - 1e-6)
    normal = NormalDist()
    z = normal.inv_cdf(auroc)
    return float(normal.pdf(z) * z / (2 * max(variance, 1e-12)))


def _recipe(start: Recipe, dtypes: Mapping[str, str]) -> Recipe:
    """Replace the dtypes of a recipe."""
    for op, dtype in dtypes.items():
        start = start.with_dtype(op, dtype)
    return start


def _cost(context: SearchContext, op: str, dtype: str) -> float:
    """Cost of an op as a share of the fp32 model's. Its time is a rough guess from the bytes that it moves."""
    architecture, objective = context.model.architecture, context.objective
    ops = context.space.dtypes
    size = op_bytes(architecture, op, dtype) / sum(op_bytes(architecture, other, "fp32") for other in ops)
    cost = objective.size * size
    if objective.latency:
        work = _work(context, op, dtype) / sum(_work(context, other, "fp32") for other in ops)
        cost += objective.latency * work
    return cost


def _work(context: SearchContext, op: str, dtype: str) -> float:
    """Bytes that one sample moves through an op, weighted by where they come from."""
    architecture = context.model.architecture
    if op.startswith("tables."):
        return _MEMORY_FACTOR * row_bytes(dtype, architecture.embedding_dim)  # type: ignore[arg-type]
    if op == "interaction":
        return _VALUE_BYTES[dtype] * (architecture.num_tables + 1) ** 2 * architecture.embedding_dim
    inputs, outputs = architecture.linear_shapes[op]
    return _VALUE_BYTES[dtype] * inputs * outputs
