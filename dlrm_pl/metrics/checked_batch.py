"""Check the tensors that a torchmetrics Metric is given, batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrm_pl.metrics.rows import no_number, other_shapes, wrong_label


def check_batch(scores: Tensor, labels: Tensor, *, finite: bool) -> None:
    """Raise unless there is a valid score and a valid label for each row.

    Args:
        scores: scores of any float dtype, ``[B]``.
        labels: labels 0 or 1, ``[B]``.
        finite: refuse infinite scores as well as NaN.

    Raises:
        ShapeError: the shapes differ, or are not ``[B]``.
        NonFiniteError: a score is NaN, or infinite if ``finite`` is set; the message names the first such row.
        MetricError: a label is neither 0 nor 1; the message names the first such row.
    """
    if scores.shape != labels.shape or scores.dim() != 1:
        raise other_shapes(tuple(scores.shape), tuple(labels.shape))
    bad = ~torch.isfinite(scores) if finite else torch.isnan(scores)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise no_number(scores[row].item(), row)
    wrong = (labels != 0) & (labels != 1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise wrong_label(labels[row].item(), row)
