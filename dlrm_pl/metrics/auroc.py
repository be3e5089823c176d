"""Exact AUROC of any number of rows, by sorting clicks and non-clicks apart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from dlrm_pl.metrics.checked_batch import check_batch
from dlrm_pl.metrics.rows import check_both_classes, check_scores, clicks

_ROWS_WORTH_A_THREAD = 1_000_000

Floats = npt.NDArray[np.floating[Any]]


def exact_auroc(scores: Floats | Tensor, labels: npt.NDArray[Any] | Tensor) -> float:
    """Probability that a random click scores above a random non-click, a tie counting one half.

    Args:
        scores: ``[rows]``, any float dtype. Only their order counts: logits keep all of it, while float32
            probabilities make rows alike whose logits are large. Infinities are ordered as numbers are.
        labels: 0 or 1, ``[rows]``.

    Raises:
        MetricError: a single class, or another label; names its row.
        NonFiniteError: a score is NaN; names its row.
        ShapeError: the lengths differ.
    """
    values, truth = _array(scores), _array(labels)
    check_scores(values, truth)
    clicked = clicks(truth)
    return auroc_of_classes(values[clicked], values[~clicked])


def auroc_of_classes(positives: Floats, negatives: Floats) -> float:
    """The same from the scores of the clicks and of the others; sorts both in place.

    Raises:
        MetricError: either is empty.
    """
    check_both_classes(len(positives), len(positives) + len(negatives))
    positives.sort()
    # A sum over non-clicks is a sum over parts of them, so that the threads sort apart and nothing is merged.
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


class ExactAUROC(Metric):
    """Area under the ROC curve, exact, as a torchmetrics Metric.

    ``update(scores, labels)`` takes any scores: only their order counts, and no sigmoid is applied, as torchmetrics'
    own AUROC does to the batches that leave [0, 1]. Logits keep the order of all rows; float32 probabilities are 1
    from a logit of 17 on. Keeps 4 bytes a row.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    positives: list[Tensor]
    negatives: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("positives", default=[], dist_reduce_fx="cat")
        self.add_state("negatives", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            scores: kept as float32, ``[B]``.
            labels: 0 or 1, ``[B]``.

        Raises:
            ShapeError: the shapes differ.
            NonFiniteError: a score is NaN; names its row.
            MetricError: another label; names its row.
        """
        check_batch(scores, labels, finite=False)
        scores, clicked = scores.detach().float(), labels == 1
        self.positives.append(scores[clicked])
        self.negatives.append(scores[~clicked])

    def compute(self) -> Tensor:
        """AUROC of all rows so far, float64 scalar.

        Raises:
            MetricError: a single class.
        """
        return torch.tensor(auroc_of_classes(_joined(self.positives), _joined(self.negatives)), dtype=torch.float64)


def _joined(parts: list[Tensor] | Tensor) -> Floats:
    """All scores of one class; after a sync over ranks torchmetrics hands over one tensor."""
    if isinstance(parts, Tensor):
        return parts.cpu().numpy().copy()
    arrays = [part.cpu().numpy() for part in parts]
    return np.concatenate(arrays) if arrays else np.empty(0, np.float32)


def _array(values: npt.NDArray[Any] | Tensor) -> npt.NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)
