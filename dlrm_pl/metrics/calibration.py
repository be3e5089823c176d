"""Are the probabilities right, and not only their order? Log loss, normalized entropy, calibration ratio."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from dlrm_pl.errors import MetricError
from dlrm_pl.metrics.checked_batch import check_batch


def normalized_entropy(log_loss: float, label_rate: float) -> float:
    """Log loss over the entropy of the label rate: 1 is a model that knows the rate alone, lower is better.

    Raises:
        MetricError: the label rate is 0 or 1, whose entropy is 0.

    Source: He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook".
    """
    if not 0 < label_rate < 1:
        raise MetricError(f"Normalized entropy is undefined on a single class: the label rate is {label_rate}.")
    entropy = -(label_rate * math.log(label_rate) + (1 - label_rate) * math.log1p(-label_rate))
    return log_loss / entropy


class ClickCalibration(Metric):
    """Log loss (nats), normalized entropy and calibration ratio (sum of predictions / sum of labels).

    Takes logits: a float32 probability reaches 0 and 1, where the log loss is infinite. All is computed and summed in
    float64, so that billions of rows add up.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    log_loss_sum: Tensor
    probability_sum: Tensor
    label_sum: Tensor
    rows: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("log_loss_sum", "probability_sum", "label_sum", "rows"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.set_dtype(torch.float64)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits, not probabilities, and labels 0 or 1, ``[B]`` each.

        Raises:
            ShapeError: the shapes differ.
            NonFiniteError: a logit is NaN or infinite; names its row.
            MetricError: another label; names its row.
        """
        check_batch(logits, labels, finite=True)
        scores, truth = logits.detach().double(), labels.double()
        self.log_loss_sum += F.binary_cross_entropy_with_logits(scores, truth, reduction="sum")
        self.probability_sum += torch.sigmoid(scores).sum()
        self.label_sum += truth.sum()
        self.rows += len(truth)

    def compute(self) -> dict[str, Tensor]:
        """``log_loss``, ``normalized_entropy`` and ``calibration_ratio``; ``rows`` and ``clicks``; float64 scalars.

        Raises:
            MetricError: no rows, or a single class.
        """
        rows, clicks = float(self.rows), float(self.label_sum)
        if not rows:
            raise MetricError("No rows were scored, so there is no log loss.")
        log_loss = float(self.log_loss_sum) / rows
        values = {
            "log_loss": log_loss,
            "normalized_entropy": normalized_entropy(log_loss, clicks / rows),
            "calibration_ratio": float(self.probability_sum) / clicks,
            "rows": rows,
            "clicks": clicks,
        }
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
