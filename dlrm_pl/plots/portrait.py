"""Choose the plot for what was inspected."""

from __future__ import annotations

from dlrm_pl.inspection import Description
from dlrm_pl.plots.parts import Portrait


def portrait_of(description: Description) -> Portrait:
    """Return the plot of a dataset, an artifact or a checkpoint.

    Raises:
        ConfigurationError: it is a checkpoint with nothing to draw.
        DLRMError: it is damaged.
    """
    if description.kind == "dataset":
        from dlrm_pl.plots.dataset import dataset_portrait

        return dataset_portrait(description.path)
    if description.kind == "artifact":
        from dlrm_pl.plots.artifact import artifact_portrait

        return artifact_portrait(description)
    from dlrm_pl.plots.checkpoint import checkpoint_portrait

    return checkpoint_portrait(description)
