"""The strategy ``budget``: measure what each op costs alone, solve for the cheapest model, repair on real scores."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from statistics import NormalDist

import numpy as np

from dlrm_pl.metrics.auroc import exact_auroc
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.recipe_bytes import linear_shapes, op_bytes
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.knapsack import Choice, allocate
from dlrm_pl.quantization.search.trial import Trial
from dlrm_pl.quantization.sensitivity.auroc_drop import Sensitivity
from dlrm_pl.runtime.tables import row_bytes

# Blocks of the sequential test that sensitivities are measured on.
_BLOCKS = 2
# A rejected solution is followed by one for so much of its tolerance; an accepted one by one half-way to the rejected.
_SHRINK = 0.6
_SMALLEST_TARGET = 1e-3
_REFINEMENTS = 6
# Bytes of a table's row count more than those of a weight, which stays in the cache: a row comes from memory.
_MEMORY_FACTOR = 16
_VALUE_BYTES = {"int8": 1.0, "int4": 0.5, "bf16": 2.0, "fp16": 2.0, "fp32": 4.0}


def budget(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Propose the cheapest recipe that should keep the tolerance, then ones that cost more until a real one does.

    1. Measure each op alone in each dtype of the space: in one pass where the score is AUROC
       (``context.sensitivities``), by one scoring each where it is the user's own (``context.scored_drops``).
    2. Predict the drop of a recipe as the sum over its ops, for AUROC see ``predicted_drops``, and solve for the least
       cost under the tolerance.
    3. While a solution is rejected, solve for a smaller tolerance. Once one is accepted, go on between the two, for
       a cheaper one.
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
        # All was accepted so far: the predictions are too dark, and more drop than the tolerance may be asked for.
        target = accepted / _SHRINK if math.isinf(rejected) else math.sqrt(accepted * rejected)
    if not accepted:
        yield _recipe(context.start, allocate(choices, 0.0))


def _drops(context: SearchContext) -> dict[tuple[str, str], float]:
    """What each op alone costs in each dtype, in units of the score."""
    changes = [(op, dtype) for op, dtypes in context.space.dtypes.items() for dtype in dtypes if dtype != "fp32"]
    if not changes:
        return {}
    if context.drop_of is not None:
        return context.scored_drops(changes)
    rows = _BLOCKS * context.criterion.first_block
    return predicted_drops(context.sensitivities(changes, rows), gain(context, rows))


def predicted_drops(measured: Sequence[Sensitivity], gain: float) -> dict[tuple[str, str], float]:
    """What each change is taken to cost.

    A drop measured alone drowns in its error, the more so 60 of them added up. The noise that a change makes in the
    logits is known far better, and AUROC falls in proportion to its variance as long as it is small. So the drop of a
    change is its mean squared error times one factor for all: fitted to all drops, weighted by their errors, and at
    least a quarter of ``gain``. Where a drop is beyond two standard errors larger than that, the excess counts.
    """
    weights = [1 / max(found.standard_error, 1e-12) ** 2 for found in measured]
    squares = sum(w * found.logit_mse**2 for w, found in zip(weights, measured, strict=True))
    products = sum(w * found.logit_mse * found.drop for w, found in zip(weights, measured, strict=True))
    factor = max(products / squares if squares else 0.0, gain / 4)
    return {
        (found.op, found.dtype): max(factor * found.logit_mse, found.drop - 2 * found.standard_error)
        for found in measured
    }


def gain(context: SearchContext, rows: int) -> float:
    """AUROC drop for each unit of variance of noise in the logits, were they normal in both classes.

    With AUROC = Phi(z) and logits of variance s^2 within a class, noise of variance v gives Phi(z / sqrt(1 + v / s^2)),
    whose derivative at 0 is phi(z) * z / (2 s^2).
    """
    source = context.rows
    assert source is not None  # Or nothing was measured.
    read = source.read_fp32(rows)
    labels = source.labels(read).astype(bool)
    logits = source.fp32(read).astype(np.float64)
    variance = (np.var(logits[labels]) + np.var(logits[~labels])) / 2
    auroc = min(max(exact_auroc(logits, labels), 0.5), 1 - 1e-6)
    normal = NormalDist()
    z = normal.inv_cdf(auroc)
    return float(normal.pdf(z) * z / (2 * max(variance, 1e-12)))


def _recipe(start: Recipe, dtypes: Mapping[str, str]) -> Recipe:
    for op, dtype in dtypes.items():
        start = start.with_dtype(op, dtype)
    return start


def _cost(context: SearchContext, op: str, dtype: str) -> float:
    """Share of the objective, in parts of the whole fp32 model. The time is a rough guess from the bytes that move."""
    architecture, objective = context.model.architecture, context.objective
    ops = context.space.dtypes
    size = op_bytes(architecture, op, dtype) / sum(op_bytes(architecture, other, "fp32") for other in ops)
    cost = objective.size * size
    if objective.latency:
        work = _work(context, op, dtype) / sum(_work(context, other, "fp32") for other in ops)
        cost += objective.latency * work
    return cost


def _work(context: SearchContext, op: str, dtype: str) -> float:
    """Bytes that one sample moves through an op."""
    architecture = context.model.architecture
    if op.startswith("tables."):
        return _MEMORY_FACTOR * row_bytes(dtype, architecture.embedding_dim)  # type: ignore[arg-type]
    if op == "interaction":
        return _VALUE_BYTES[dtype] * (architecture.num_tables + 1) ** 2 * architecture.embedding_dim
    inputs, outputs = linear_shapes(architecture)[op]
    return _VALUE_BYTES[dtype] * inputs * outputs
