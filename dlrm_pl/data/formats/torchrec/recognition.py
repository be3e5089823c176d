"""Recognize folders of days that ``preprocess`` has written."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.data.formats.dataset_description import REJECTED
from dlrm_pl.data.formats.torchrec.stated import DESCRIPTION_NAME
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.files.replacement import FinishedOutput


def recognize_days(folder: Path) -> FinishedOutput | None:
    """Return the description in a folder that ``preprocess --flavor torchrec`` wrote; None for other folders."""
    contents = object_with(folder / DESCRIPTION_NAME, "created_by")
    if contents is None:
        return None
    rows = contents.get("rows_by_day")
    days = range(len(rows) if isinstance(rows, list) else 0)
    names = [f"day_{day}_{part}.npy" for day in days for part in ("dense", "labels", "sparse")]
    command = str(contents["created_by"])
    return FinishedOutput("days", command, object_in(contents, command), (*names, REJECTED, DESCRIPTION_NAME))
