"""Recipe that a search begins with: the one that the model was trained with, or that of the settings."""

from __future__ import annotations

import logging

from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.trained import TrainedQuantization
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SearchSpace

log = logging.getLogger(__name__)


def first_recipe(model: DLRM, settings: TuningSettings) -> Recipe:
    """Return the recipe that a search begins with, adjusted to its space.

    Args:
        model: float model. For one from quantization-aware training, the search begins with the recipe that it was
            trained with, unless the settings have a recipe other than the default.
        settings: settings of the search.

    Raises:
        CheckpointError: the model's trained quantization does not fit it.
        ConfigurationError: the space names ops of another model.
    """
    wanted = Recipe.starting_from(settings.recipe, model.architecture)
    trained = TrainedQuantization.of(model)
    if trained is not None:
        if settings.recipe == RecipeStart():
            wanted = trained.recipe
            log.info("the search begins with the recipe that the model was trained with: %s", wanted.describe())
        else:
            log.info("the recipe of the settings replaces the one that the model was trained with")
    adjusted = SearchSpace(settings.space, model.architecture).moved_into(wanted)
    if adjusted != wanted:
        log.info("start recipe adjusted to the search space: %s", adjusted.describe())
    return adjusted
