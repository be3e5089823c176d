"""The first calibration rows, for measurements that need fewer than ranges of activations do."""

from __future__ import annotations

from collections.abc import Iterable

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import CalibrationError


def calibration_sample(batches: Iterable[ClickBatch], rows: int) -> list[ClickBatch]:
    """The first whole batches that hold at least so many rows, or all; batches without a row are left out.

    Raises:
        CalibrationError: there was no row.
    """
    sample: list[ClickBatch] = []
    found = 0
    for batch in batches:
        if batch.num_samples:
            sample.append(batch)
            found += batch.num_samples
        if found >= rows:
            break
    if not sample:
        raise CalibrationError(
            "There are no calibration rows to measure ops on. Check calibration_rows and the val split."
        )
    return sample
