"""Log loss, normalized entropy and calibration ratio of any number of rows, from sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dlrm_pl.errors import MetricError
from dlrm_pl.metrics.checked_batch import check_batch


def normalized_entropy(log_loss: float, label_rate: float) -> float:
    """Divide a log loss by the entropy of the label rate: 1 is a model that knows only the rate, lower is better.

    Args:
        log_loss: mean over the rows, in nats.
        label_rate: share of clicks among the rows.

    Raises:
        MetricError: the label rate is 0 or 1, whose entropy is 0.

    Example:
        >>> from dlrm_pl.metrics import normalized_entropy
        >>> round(normalized_entropy(log_loss=0.13, label_rate=0.033), 4)
        0.8964

    Source: He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook".
    """
    if not 0 < label_rate < 1:
        raise MetricError(f"Normalized entropy is undefined on a single class: the label rate is {label_rate}.")
    entropy = -(label_rate * math.log(label_rate) + (1 - label_rate) * math.log1p(-label_rate))
    return log_loss / entropy


@dataclass
class CalibrationSums:
    """Sums over rows in float64, accurate even for billions of them.

    Attributes:
        log_loss: sum of the log losses, in nats.
        probability: sum of the click probabilities.
        clicks: number of clicks.
        rows: number of rows.
    """

    log_loss: float = 0.0
    probability: float = 0.0
    clicks: float = 0.0
    rows: float = 0.0

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            preds: logits, not probabilities, ``[B]``.
            target: labels 0 or 1, ``[B]``.

        Raises:
            ShapeError: the shapes differ.
            NonFiniteError: a logit is NaN or infinite; the message names its row.
            MetricError: a label is neither 0 nor 1; the message names its row.
        """
        check_batch(preds, target, finite=True)
        scores, truth = preds.detach().double(), target.double()
        self.log_loss += float(F.binary_cross_entropy_with_logits(scores, truth, reduction="sum"))
        self.probability += float(torch.sigmoid(scores).sum())
        self.clicks += float(truth.sum())
        self.rows += len(truth)

    def values(self) -> dict[str, float]:
        """Return ``log_loss``, ``normalized_entropy``, ``calibration_ratio``, ``rows`` and ``clicks``.

        Raises:
            MetricError: there are no rows, or all labels are the same.
        """
        if not self.rows:
            raise MetricError("No rows were scored, so the log loss is undefined.")
        log_loss = self.log_loss / self.rows
        return {
            "log_loss": log_loss,
            "normalized_entropy": normalized_entropy(log_loss, self.clicks / self.rows),
            "calibration_ratio": self.probability / self.clicks,
            "rows": self.rows,
            "clicks": self.clicks,
        }


def click_calibration(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compute log loss, normalized entropy and calibration ratio of some rows.

    Args:
        preds: logits, not probabilities, ``[rows]``.
        target: labels 0 or 1, ``[rows]``.

    Returns:
        ``log_loss`` (nats), ``normalized_entropy``, ``calibration_ratio``, ``rows`` and ``clicks``; float64 scalars.

    Raises:
        ShapeError: the shapes differ.
        NonFiniteError: a logit is NaN or infinite; the message names its row.
        MetricError: there are no rows, all labels are the same, or one is neither 0 nor 1.

    Example:
        >>> import torch
        >>> from dlrm_pl.metrics import click_calibration
        >>> values = click_calibration(torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([0, 1, 1]))
        >>> {name: round(float(value), 4) for name, value in values.items()}
        {'log_loss': 0.2165, 'normalized_entropy': 0.3402, 'calibration_ratio': 0.8471, 'rows': 3.0, 'clicks': 2.0}
    """
    sums = CalibrationSums()
    sums.add(preds, target)
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.values().items()}
