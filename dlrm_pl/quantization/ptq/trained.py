"""Quantization stored with a model by quantization-aware training: the recipe, and the fixed activation ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlrm_pl.documents.fields import make
from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize_linear import Range
from dlrm_pl.quantization.recipe import Recipe

_ADVICE = "The checkpoint is corrupt."


@dataclass(frozen=True)
class _Stated:
    """The statement in a checkpoint before it was checked."""

    recipe: dict[str, Any]
    ranges: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class TrainedQuantization:
    """The rounding that a model was trained with.

    Attributes:
        recipe: dtypes of all ops, observer, scheme and granularity.
        ranges: activation ranges by name in ``Recipe.chains``, as ``ActivationRanges`` gives them: at the chain's
            input, then after each of its Linears. Empty if the recipe has no int8 Linear.
    """

    recipe: Recipe
    ranges: Mapping[str, Sequence[Range]]

    def statement(self) -> dict[str, Any]:
        """Return both in plain types, as checkpoints hold them."""
        ranges = {part: [list(observed) for observed in found] for part, found in self.ranges.items()}
        return {"recipe": self.recipe.to_dict(), "ranges": ranges}

    @classmethod
    def of(cls, model: DLRM) -> TrainedQuantization | None:
        """Read the quantization that a model was trained with; None for a model that was trained in floats.

        Raises:
            CheckpointError: the stored quantization does not fit the model; the message says what is wrong.
        """
        if model.trained_quantization is None:
            return None
        where = "the quantization in the checkpoint"
        stated = make(_Stated, model.trained_quantization, where, CheckpointError, _ADVICE)
        try:
            recipe = Recipe.from_dict(stated.recipe)
        except (TypeError, ConfigurationError) as error:
            raise CheckpointError(f"{where} has no valid recipe: {error} {_ADVICE}") from error
        expected = Recipe.all_float(model.architecture)
        if list(recipe.ops) != list(expected.ops):
            raise CheckpointError(
                f"{where} names {len(recipe.ops)} ops, but the model has {len(expected.ops)}. {_ADVICE}"
            )
        ranges = {part: [Range(*observed) for observed in found] for part, found in stated.ranges.items()}
        wanted = {part: len(dtypes) + 1 for part, dtypes in recipe.chains.items()} if recipe.has_int8_linears else {}
        if (found := {part: len(some) for part, some in ranges.items()}) != wanted:
            raise CheckpointError(f"{where} has ranges for {found} activations, but the model has {wanted}. {_ADVICE}")
        return cls(recipe, ranges)
