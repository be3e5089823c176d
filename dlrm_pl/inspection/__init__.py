"""Describe a dataset folder, a checkpoint or an artifact: as text for one screen, and as data."""

from dlrm_pl.inspection.by_kind import describe, inspect_path
from dlrm_pl.inspection.description import Description

__all__ = ["Description", "describe", "inspect_path"]
