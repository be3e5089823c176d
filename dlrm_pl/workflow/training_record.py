"""Training record in the checkpoint that a run saved."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.errors import CheckpointError

log = logging.getLogger(__name__)


def training_of(opened: Mapping[str, Any], path: str | os.PathLike[str]) -> TrainingRecord | None:
    """Return the record of the run that saved a checkpoint; None if there is none or it is damaged.

    Args:
        opened: what ``open_checkpoint`` returned.
        path: the file.
    """
    try:
        return TrainingRecord.of_checkpoint(opened, str(path))
    except CheckpointError as error:
        log.warning("%s The report will have no training curves.", error)
        return None
