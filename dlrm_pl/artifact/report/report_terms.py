"""Terms of a report, and explanations of settings taken from the docstrings of their dataclasses."""

from __future__ import annotations

from dlrm_pl.artifact.report.explanations import EXPLANATIONS
from dlrm_pl.documents.docstrings import attribute_descriptions
from dlrm_pl.pages.terms import Terms
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.objective import Objective
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SpaceSettings

_SETTINGS = {
    "": TuningSettings,
    "recipe.": RecipeStart,
    "criterion.": Criterion,
    "criterion.worst_slice.": WorstSlice,
    "objective.": Objective,
    "space.": SpaceSettings,
}


def report_terms() -> Terms:
    """Make the terms of a report, none of them used yet."""
    return Terms(EXPLANATIONS)


def settings_meanings() -> dict[str, str]:
    """Return the meaning of each search setting by its dotted name; empty if Python removed the docstrings."""
    return {
        f"{prefix}{name}": words.replace("``", "").replace("null", "not set").replace("Null", "Not set")
        for prefix, settings in _SETTINGS.items()
        for name, words in attribute_descriptions(settings).items()
    }
