"""Exact AUROC of any number of rows, by sorting clicks and non-clicks apart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from dlrm_pl.metrics.checked_batch import check_batch
from dlrm_pl.metrics.rows import as_array, check_both_classes, check_scores, clicks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from torchmetrics.utilities.plot import _PLOT_OUT_TYPE

_ROWS_WORTH_A_THREAD = 1_000_000

Floats = npt.NDArray[np.floating[Any]]


def exact_auroc(preds: Floats | Tensor, target: npt.NDArray[Any] | Tensor) -> float:
    """Compute the AUROC: the probability that a random click scores above a random non-click, ties counting half.

    Args:
        preds: scores, any float dtype, ``[rows]``. Only their order counts: logits keep all of it, while float32
            probabilities are 1 for every logit above 17. Infinities are ordered as numbers are.
        target: labels 0 or 1, ``[rows]``.

    Raises:
        MetricError: all labels are the same, or one is neither 0 nor 1; names its row.
        NonFiniteError: a score is NaN; names its row.
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
    """Exact area under the ROC curve, as a torchmetrics Metric.

    Only the order of the scores counts, so logits and probabilities serve alike. No sigmoid is applied, whereas
    torchmetrics' own AUROC applies one to the batches that leave [0, 1]. Logits keep the order of all rows; float32
    probabilities are 1 for every logit above 17. Memory: 4 bytes a row.

    Args:
        **kwargs: options of ``torchmetrics.Metric``, as ``sync_on_compute``.

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
            NonFiniteError: a score is NaN; names its row.
            MetricError: a label is neither 0 nor 1; names its row.
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
            The figure, None where ``ax`` is given, and the axes.
        """
        return self._plot(val, ax)


def _joined(parts: list[Tensor] | Tensor) -> Floats:
    """Join the scores of one class; after a sync over ranks torchmetrics hands over one tensor."""
    if isinstance(parts, Tensor):
        return parts.cpu().numpy().copy()
    arrays = [part.cpu().numpy() for part in parts]
    return np.concatenate(arrays) if arrays else np.empty(0, np.float32)
