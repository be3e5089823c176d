"""First calibration rows, for measurements that need fewer rows than activation ranges do."""

from __future__ import annotations

from collections.abc import Iterable

from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.errors import CalibrationError


def calibration_sample(batches: Iterable[ClickBatch], rows: int) -> list[ClickBatch]:
    """Return the first rows of the batches, up to a number, without empty batches.

    Args:
        batches: calibration rows.
        rows: number of rows to take; fewer if there are fewer.

    Raises:
        CalibrationError: there are no rows.
    """
    sample: list[ClickBatch] = []
    for batch in batches:
        if batch.num_samples:
            sample.append(first_samples(batch, min(rows, batch.num_samples)))
            rows -= sample[-1].num_samples
        if not rows:
            break
    if not sample:
        raise CalibrationError(
            "There are no calibration rows on which to measure ops. Check calibration_rows and the val split."
        )
    return sample
