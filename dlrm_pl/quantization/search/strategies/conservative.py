"""The strategy ``conservative``: begin with floats, and quantize as far as the criterion allows."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.recipe_bytes import op_bytes
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.trial import Trial

_KINDS = ("tables.", ("bottom_mlp.", "top_mlp."), "interaction")
"""Beginnings of the names of the ops of each kind, in the order quantized: first what holds the bytes."""


def conservative(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Nearly every recipe tried is within tolerance: for a first look at a model that is hard to quantize.

    1. From the float model, kind by kind (tables, Linears, interaction): quantize all ops of the kind, and keep them
       if the recipe is accepted.
    2. The ops of the kinds that were not kept, one by one, the largest first in fp32 bytes; keep what is accepted.
    3. Those that are still fp32 in half precision, all together; keep them if the recipe is accepted.

    An op is quantized as in the start, with the observers of the start; one that is a float there stays as it is there.
    The float model itself is not tried. An op that may not be fp32 begins as in the start.

    Source: the strategy of the same name in Intel Neural Compressor 2.6, which stops after the kinds.
    """
    start = context.start
    ops = [op for op in start.quantized_ops if context.space.allows(op, "fp32")]
    kept = _with(start, ops, dict.fromkeys(ops, "fp32"))
    if not ops or kept.quantized_ops:
        # Nothing to begin with but what the start leaves no choice of.
        yield kept
    rejected: list[str] = []
    for kind in _KINDS:
        of_kind = [op for op in ops if op.startswith(kind)]
        if not of_kind:
            continue
        trial = yield _with(kept, of_kind, start.ops)
        if trial.accepted:
            kept = trial.recipe
        elif len(of_kind) > 1:
            rejected += of_kind
    kept = yield from _one_by_one(context, kept, rejected)
    halved = _in_half_precision(context, kept, ops)
    if halved != kept:
        yield halved


def _one_by_one(context: SearchContext, kept: Recipe, ops: list[str]) -> Generator[Recipe, Trial, Recipe]:
    """Quantize one op after the other, the largest first, and keep what is accepted (step 2)."""
    architecture = context.model.architecture
    for op in sorted(ops, key=lambda op: -op_bytes(architecture, op, "fp32")):
        trial = yield kept.with_dtype(op, context.start.ops[op])
        if trial.accepted:
            kept = trial.recipe
    return kept


def _in_half_precision(context: SearchContext, kept: Recipe, ops: list[str]) -> Recipe:
    """The recipe with the ops that are still fp32 in half precision, where the space allows it (step 3)."""
    half = {op: "fp16" if op.startswith("tables.") else "bf16" for op in ops if kept.ops[op] == "fp32"}
    return _with(kept, [op for op, dtype in half.items() if context.space.allows(op, dtype)], half)


def _with(recipe: Recipe, ops: Iterable[str], dtypes: dict[str, str]) -> Recipe:
    """The recipe with these ops in these dtypes."""
    for op in ops:
        recipe = recipe.with_dtype(op, dtypes[op])
    return recipe
