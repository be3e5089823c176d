"""Check the input of every metric: a score and a label for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.errors import MetricError, NonFiniteError, ShapeError

if TYPE_CHECKING:  # Light commands read these checks, and torch takes a second to import.
    from torch import Tensor


def as_array(values: npt.ArrayLike | Tensor) -> npt.NDArray[Any]:
    """Return the values of a tensor, an array or a list as an array."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    tensor: Tensor = values.detach().cpu()
    # NumPy has no bfloat16.
    array: npt.NDArray[Any] = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return array


def clicks(labels: npt.NDArray[Any], first_row: int = 0) -> npt.NDArray[np.bool_]:
    """Return which rows are clicks, ``[rows]``.

    Raises:
        MetricError: a label is neither 0 nor 1; the message names the first such row, counted from ``first_row``.
    """
    clicked: npt.NDArray[np.bool_] = labels == 1
    if np.count_nonzero(clicked) + np.count_nonzero(labels == 0) != len(labels):
        row = int(np.flatnonzero((labels != 0) & (labels != 1))[0])
        raise wrong_label(labels[row], first_row + row)
    return clicked


def check_scores(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    """Raise unless each label has a score that is not NaN.

    Raises:
        ShapeError: the shapes differ, or are not ``[rows]``.
        NonFiniteError: a score is NaN; the message names the first such row.
    """
    if scores.shape != labels.shape or scores.ndim != 1:
        raise other_shapes(scores.shape, labels.shape)
    # The minimum is NaN if any score is, and takes no extra memory.
    if len(scores) and np.isnan(scores.min()):
        raise no_number(scores[np.isnan(scores)][0], int(np.flatnonzero(np.isnan(scores))[0]))


def check_both_classes(clicks: int, rows: int) -> None:
    """Raise unless there are clicks and non-clicks.

    Raises:
        MetricError: all labels are the same; the message states the counts.
    """
    if not 0 < clicks < rows:
        raise MetricError(
            f"AUROC is undefined on a single class: {clicks} clicks among {rows} rows. Score more rows, or check the "
            "labels of the split."
        )


def other_shapes(scores: tuple[int, ...], labels: tuple[int, ...]) -> ShapeError:
    """Return the error for shapes that differ or are not ``[rows]``."""
    return ShapeError(f"Scores {list(scores)} and labels {list(labels)} must have the same shape, [rows].")


def no_number(score: object, row: int) -> NonFiniteError:
    """Return the error for a score that is not finite."""
    return NonFiniteError(f"The score of row {row} is {score}; the model's weights are not finite.")


def wrong_label(label: object, row: int) -> MetricError:
    """Return the error for a label that is neither 0 nor 1."""
    return MetricError(f"The label of row {row} is {label}; labels must be 0 or 1.")
