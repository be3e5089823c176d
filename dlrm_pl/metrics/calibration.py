"""Log loss, normalized entropy and calibration ratio as a torchmetrics Metric; see ``calibration_sums``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from dlrm_pl.metrics.calibration_sums import CalibrationSums

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torchmetrics.utilities.plot import _PLOT_OUT_TYPE

_PLOTTED = ("log_loss", "normalized_entropy", "calibration_ratio")


class ClickCalibration(Metric):
    """Log loss (nats), normalized entropy and calibration ratio (sum of predictions / sum of labels).

    It takes logits: a float32 probability reaches 0 and 1, where the log loss is infinite. Everything is computed and
    summed in float64, so that sums over billions of rows are accurate.

    Args:
        **kwargs: options of ``torchmetrics.Metric``, such as ``sync_on_compute``.

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
            NonFiniteError: a logit is NaN or infinite; the message names its row.
            MetricError: a label is neither 0 nor 1; the message names its row.
        """
        sums = CalibrationSums()
        sums.add(preds, target)
        self.log_loss_sum += sums.log_loss
        self.probability_sum += sums.probability
        self.label_sum += sums.clicks
        self.rows += sums.rows

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics of all rows so far.

        Returns:
            ``log_loss``, ``normalized_entropy``, ``calibration_ratio``, ``rows`` and ``clicks``; float64 scalars.

        Raises:
            MetricError: there are no rows, or all labels are the same.
        """
        sums = CalibrationSums(*map(float, (self.log_loss_sum, self.probability_sum, self.label_sum, self.rows)))
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.values().items()}

    def plot(
        self, val: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]] | None = None, ax: Axes | None = None
    ) -> _PLOT_OUT_TYPE:
        """Draw log loss, normalized entropy and calibration ratio as points, or several of each as lines.

        Args:
            val: values that ``compute`` or ``forward`` returned; None: those of all rows so far.
            ax: axes to draw on; None: those of a new figure.

        Returns:
            The figure, which is None if ``ax`` is given, and the axes.
        """
        values = self.compute() if val is None else val
        if isinstance(values, Sequence):
            return self._plot([{name: value[name] for name in _PLOTTED} for value in values], ax)
        return self._plot({name: values[name] for name in _PLOTTED}, ax)
