"""Exact AUROC of any number of rows, by sorting clicks and non-clicks separately."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.metrics.rows import as_array, check_both_classes, check_scores, clicks

_ROWS_WORTH_A_THREAD = 1_000_000

Floats = npt.NDArray[np.floating[Any]]


def exact_auroc(preds: Floats | Tensor, target: npt.NDArray[Any] | Tensor) -> float:
    """Compute the AUROC: the probability that a random click scores above a random non-click, ties counting half.

    Args:
        preds: scores, any float dtype, ``[rows]``. Only their order counts: logits keep all of it, while float32
            probabilities are 1 for every logit above 17. Infinities are ordered as numbers are.
        target: labels 0 or 1, ``[rows]``.

    Raises:
        MetricError: all labels are the same, or one is neither 0 nor 1; the message names its row.
        NonFiniteError: a score is NaN; the message names its row.
        ShapeError: the lengths differ.

    Example:
        >>> import numpy as np
        >>> from dlrm_pl.metrics import exact_auroc
        >>> exact_auroc(np.array([-2.0, 0.5, 0.5, 3.0]), np.array([0, 0, 1, 1]))
        0.875
    """
    values, truth = as_array(preds), as_array(target)
    check_scores(values, truth)
    clicked = clicks(truth)
    return auroc_of_classes(values[clicked], values[~clicked])


def auroc_of_classes(positives: Floats, negatives: Floats) -> float:
    """Compute the AUROC from the scores of the clicks and of the non-clicks; sorts both in place.

    Raises:
        MetricError: either array is empty.
    """
    check_both_classes(len(positives), len(positives) + len(negatives))
    positives.sort()
    # The sum over non-clicks is split into sums over parts of them, so threads sort separately and nothing is merged.
    threads = torch.get_num_threads() if len(negatives) >= _ROWS_WORTH_A_THREAD else 1
    parts = np.array_split(negatives, threads)
    with ThreadPoolExecutor(threads) as pool:
        twice = sum(pool.map(lambda part: _twice_the_wins(positives, part), parts))
    return twice / (2 * len(positives) * len(negatives))


def _twice_the_wins(positives: Floats, negatives: Floats) -> int:
    """Non-clicks below plus non-clicks not above a click: twice the wins, ties once. Exact in 64-bit integers."""
    negatives.sort()  # NumPy sorts without holding the interpreter's lock.
    below = np.searchsorted(negatives, positives, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(negatives, positives, side="right").sum(dtype=np.int64)
    return int(below) + int(not_above)
