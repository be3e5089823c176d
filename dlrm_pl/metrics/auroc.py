"""Exact AUROC as a torchmetrics Metric, whose import takes a second: see ``ranking`` for the function alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from dlrm_pl.metrics.checked_batch import check_batch
from dlrm_pl.metrics.ranking import Floats, auroc_of_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from torchmetrics.utilities.plot import _PLOT_OUT_TYPE


class ExactAUROC(Metric):
    """Exact area under the ROC curve, as a torchmetrics Metric.

    Only the order of the scores counts, so logits and probabilities both work. No sigmoid is applied, whereas
    torchmetrics' own AUROC applies one to batches with values outside [0, 1]. Logits keep the order of all rows;
    float32 probabilities are 1 for every logit above 17. Memory: 4 bytes per row.

    Args:
        **kwargs: options of ``torchmetrics.Metric``, such as ``sync_on_compute``.

    Example:
        >>> import torch
        >>> from dlrm_pl import ExactAUROC
        >>> auroc = ExactAUROC()
        >>> auroc.update(preds=torch.tensor([-2.0, 0.5]), target=torch.tensor([0, 0]))
        >>> auroc.update(preds=torch.tensor([0.5, 3.0]), target=torch.tensor([1, 1]))
        >>> auroc.compute()
        tensor(0.8750, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    positives: list[Tensor]
    negatives: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("positives", default=[], dist_reduce_fx="cat")
        self.add_state("negatives", default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            preds: scores, kept as float32, ``[B]``.
            target: labels 0 or 1, ``[B]``.

        Raises:
            ShapeError: the shapes differ.
            NonFiniteError: a score is NaN; the message names its row.
            MetricError: a label is neither 0 nor 1; the message names its row.
        """
        check_batch(preds, target, finite=False)
        scores, clicked = preds.detach().float(), target == 1
        self.positives.append(scores[clicked])
        self.negatives.append(scores[~clicked])

    def compute(self) -> Tensor:
        """Return the AUROC of all rows so far, a float64 scalar.

        Raises:
            MetricError: all labels are the same.
        """
        return torch.tensor(auroc_of_classes(_joined(self.positives), _joined(self.negatives)), dtype=torch.float64)

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Axes | None = None) -> _PLOT_OUT_TYPE:
        """Draw the AUROC as a point, or several of them as a line, on an axis from 0 to 1.

        Args:
            val: values that ``compute`` or ``forward`` returned; None: the AUROC of all rows so far.
            ax: axes to draw on; None: those of a new figure.

        Returns:
            The figure, which is None if ``ax`` is given, and the axes.
        """
        return self._plot(val, ax)


def _joined(parts: list[Tensor] | Tensor) -> Floats:
    """Join the scores of one class; after a sync over ranks torchmetrics hands over one tensor."""
    if isinstance(parts, Tensor):
        return parts.cpu().numpy().copy()
    arrays = [part.cpu().numpy() for part in parts]
    return np.concatenate(arrays) if arrays else np.empty(0, np.float32)
