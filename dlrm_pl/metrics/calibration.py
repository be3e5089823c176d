"""Metrics of click probabilities, beyond their order: log loss, normalized entropy, calibration ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from dlrm_pl.errors import MetricError
from dlrm_pl.metrics.checked_batch import check_batch
from dlrm_pl.metrics.without_sync import without_sync

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torchmetrics.utilities.plot import _PLOT_OUT_TYPE

_PLOTTED = ("log_loss", "normalized_entropy", "calibration_ratio")


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


def click_calibration(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compute log loss, normalized entropy and calibration ratio of some rows; the functional ``ClickCalibration``.

    Args:
        preds: logits, not probabilities, ``[rows]``.
        target: labels 0 or 1, ``[rows]``.

    Returns:
        ``log_loss`` (nats), ``normalized_entropy``, ``calibration_ratio``, ``rows`` and ``clicks``; float64 scalars.

    Raises:
        ShapeError: the shapes differ.
        NonFiniteError: a logit is NaN or infinite; names its row.
        MetricError: no rows, all labels are the same, or one is neither 0 nor 1.

    Example:
        >>> import torch
        >>> from dlrm_pl.metrics import click_calibration
        >>> values = click_calibration(torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([0, 1, 1]))
        >>> {name: round(float(value), 4) for name, value in values.items()}
        {'log_loss': 0.2165, 'normalized_entropy': 0.3402, 'calibration_ratio': 0.8471, 'rows': 3.0, 'clicks': 2.0}
    """
    metric = without_sync(ClickCalibration().to(preds.device))
    metric.update(preds, target)
    return metric.compute()


class ClickCalibration(Metric):
    """Log loss (nats), normalized entropy and calibration ratio (sum of predictions / sum of labels).

    It takes logits: a float32 probability reaches 0 and 1, where the log loss is infinite. All is computed and summed
    in float64, so that billions of rows add up.

    Args:
        **kwargs: options of ``torchmetrics.Metric``, as ``sync_on_compute``.

    Example:
        >>> import torch
        >>> from dlrm_pl import ClickCalibration
        >>> calibration = ClickCalibration()
        >>> calibration.update(preds=torch.tensor([-2.0, 0.5, 3.0]), target=torch.tensor([0, 1, 1]))
        >>> round(float(calibration.compute()["calibration_ratio"]), 4)
        0.8471

    Source: He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook".
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

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            preds: logits, not probabilities, ``[B]``.
            target: labels 0 or 1, ``[B]``.

        Raises:
            ShapeError: the shapes differ.
            NonFiniteError: a logit is NaN or infinite; names its row.
            MetricError: a label is neither 0 nor 1; names its row.
        """
        check_batch(preds, target, finite=True)
        scores, truth = preds.detach().double(), target.double()
        self.log_loss_sum += F.binary_cross_entropy_with_logits(scores, truth, reduction="sum")
        self.probability_sum += torch.sigmoid(scores).sum()
        self.label_sum += truth.sum()
        self.rows += len(truth)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics of all rows so far.

        Returns:
            ``log_loss``, ``normalized_entropy``, ``calibration_ratio``, ``rows`` and ``clicks``; float64 scalars.

        Raises:
            MetricError: no rows, or all labels are the same.
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

    def plot(
        self, val: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]] | None = None, ax: Axes | None = None
    ) -> _PLOT_OUT_TYPE:
        """Draw log loss, normalized entropy and calibration ratio as points, or several of each as lines.

        Args:
            val: values that ``compute`` or ``forward`` returned; None: those of all rows so far.
            ax: axes to draw on; None: those of a new figure.

        Returns:
            The figure, None where ``ax`` is given, and the axes.
        """
        values = self.compute() if val is None else val
        if isinstance(values, Sequence):
            return self._plot([{name: value[name] for name in _PLOTTED} for value in values], ax)
        return self._plot({name: values[name] for name in _PLOTTED}, ax)
