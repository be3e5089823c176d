"""Int8 models made from small float models."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny


def lowered(
    architecture: Architecture = tiny.ARCHITECTURE, ops: Mapping[str, str] = MappingProxyType({}), **start: object
) -> Int8DLRM:
    """Quantize a model; ``ops`` override the dtypes of ``start``."""
    model = tiny.model(0, architecture)
    recipe = Recipe.starting_from(RecipeStart(**start), architecture)  # type: ignore[arg-type]
    for op, dtype in ops.items():
        recipe = recipe.with_dtype(op, dtype)
    return quantize(model, recipe, tiny.batches(2, 64, architecture=architecture), table_packer(model))
