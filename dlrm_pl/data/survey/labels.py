"""Share of clicks in the days or splits of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.formats.dataset_description import COUNT_AT_MOST
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.day import Day
from dlrm_pl.data.formats.torchrec.folder import DaysFolder
from dlrm_pl.data.survey.sample import sample_size, sampled_rows
from dlrm_pl.errors import DataFormatError


@dataclass(frozen=True)
class LabelRate:
    """Share of clicks in a part of a dataset.

    Attributes:
        name: ``day 3``, or a split.
        rows: number of rows in the part.
        rate: share of clicks.
        sampled: number of rows that were sampled; None if all rows were counted.
    """

    name: str
    rows: int
    rate: float
    sampled: int | None = None


def day_rates(folder: DatasetFolder, days: DaysFolder | None) -> list[LabelRate]:
    """Return the rate of each day; nothing if the number of rows by day is not known.

    If `preprocess` has counted the clicks, the rates come from its report. Otherwise, all rows are counted if there are
    few, or a sample of each day if there are many.

    Args:
        folder: the dataset.
        days: files of the dataset, if it has days in TorchRec's format.

    Raises:
        DataFormatError: a label is not 0 or 1.
    """
    counted = folder.report.get("days") or ()
    if counted:
        return [
            LabelRate(f"day {number}", int(day["kept"]), float(day["label_rate"])) for number, day in enumerate(counted)
        ]
    return [] if days is None else [_of_day(days, number) for number in range(len(days.rows))]


def split_rates(folder: DatasetFolder) -> list[LabelRate]:
    """Return the rate of each split; from a sample of its rows if its clicks were not counted."""
    rates = []
    for split, info in folder.splits.items():
        if info.positives is not None:
            rates.append(LabelRate(split, info.records, info.positives / info.records))
            continue
        rows, size = folder.rows(split), sample_size(info.records, folder.columns.record_bytes)
        clicks = sum(int((rows.records(block)[:, LABEL] == 1).sum()) for block in sampled_rows(info.records, size))
        rates.append(LabelRate(split, info.records, clicks / size, size))
    return rates


def _of_day(days: DaysFolder, number: int) -> LabelRate:
    day = Day.open(days.files[number], days.states)
    size = day.rows if sum(days.rows) <= COUNT_AT_MOST else sample_size(day.rows, day.labels.itemsize)
    clicks = 0
    for block in sampled_rows(day.rows, size):
        labels = np.asarray(day.labels[block, 0])
        if ((labels < 0) | (labels > 1)).any():
            place = int(((labels < 0) | (labels > 1)).argmax())
            raise DataFormatError(
                f"{day.files.labels}: row {block.start + place:,}: the label is {labels[place]}, but must be 0 or 1. "
                "Copy the file again, or make it again."
            )
        clicks += int(labels.sum())
    return LabelRate(f"day {number}", day.rows, clicks / size, None if size == day.rows else size)
