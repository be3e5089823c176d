"""Strategy ``conservative``: start from the float model, and quantize as far as the criterion allows."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.recipe_bytes import op_bytes
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.trials.trial import Trial

_KINDS = ("tables.", ("bottom_mlp.", "cross_net.", "top_mlp."), "interaction")
"""Prefixes of the names of each kind of op, in the order in which they are quantized: the kind with the most bytes
first."""


def conservative(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Quantize more and more ops, so that most recipes are within tolerance; for models that are hard to quantize.

    1. Starting from the float model, one kind after another (tables, Linears, interaction), quantize all ops of the
       kind, and keep them quantized if the recipe is accepted.
    2. Quantize the ops of the other kinds one by one, the one with the most fp32 bytes first; keep what is accepted.
    3. Convert the ops that are still fp32 to half precision, all together.

    Ops get the dtype and the observers that they have in the start, and an op that is a float there stays that float.
    The float model itself is not tried. An op that may not be fp32 has the start's dtype from the beginning.

    Source: the strategy of the same name in Intel Neural Compressor 2.6, which stops after the kinds.
    """
    start = context.start
    ops = [op for op in start.quantized_ops if context.space.allows(op, "fp32")]
    kept = _with(start, ops, dict.fromkeys(ops, "fp32"))
    if not ops or kept.quantized_ops:
        # Begin with the recipe in which only the ops that may not be fp32 are quantized.
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
