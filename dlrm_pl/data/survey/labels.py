"""The share of clicks in the days or splits of a dataset."""

from __future__ import annotations

import math
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
    """The share of clicks of a part of a dataset.

    Attributes:
        name: ``day 3``, or a split.
        rows: rows of the part.
        rate: share of clicks.
        sampled: number of rows that were looked at; None where all were counted.
    """

    name: str
    rows: int
    rate: float
    sampled: int | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of a rate that comes from a sample (Wilson 1927); None where all rows were counted."""
        if self.sampled is None:
            return None
        z, n = 1.96, self.sampled
        middle = (self.rate + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * math.sqrt(self.rate * (1 - self.rate) / n + z**2 / (4 * n**2))
        return min(middle - half, self.rate), max(middle + half, self.rate)


def label_rates(folder: DatasetFolder, days: DaysFolder | None) -> list[LabelRate]:
    """Return the rate of each day; of each split where the rows of days are not known.

    What `preprocess` has counted is taken from its report. Else all rows are counted if there are few, and a sample of
    each part if there are many.

    Args:
        folder: the dataset.
        days: its files, if it has days in TorchRec's format.

    Raises:
        DataFormatError: a label is not 0 or 1.
    """
    counted = folder.report.get("days") or ()
    if counted:
        return [
            LabelRate(f"day {number}", int(day["kept"]), float(day["label_rate"])) for number, day in enumerate(counted)
        ]
    if days is not None:
        return [_of_day(days, number) for number in range(len(days.rows))]
    return split_rates(folder)


def split_rates(folder: DatasetFolder) -> list[LabelRate]:
    """Return the rate of each split, see ``label_rates``."""
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
