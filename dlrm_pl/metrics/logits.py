"""Click probabilities and log losses from logits, in float64.

A float32 probability is 1 for every logit above 17, and coarse for logits above 0: rows that a model tells apart would
tie, and the log loss of a wrong row could not exceed 17. So models are ranked by their logits, and probabilities and
log losses are computed from logits where they are needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def click_probabilities(logits: npt.NDArray[Any]) -> Floats:
    """Return the sigmoid of each logit, ``[rows]``."""
    x = logits.astype(np.float64)
    small = np.exp(-np.abs(x))
    result: Floats = np.where(x < 0, small, 1.0) / (1 + small)
    return result


def log_losses(logits: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Floats:
    """Return the log loss of each row in nats, ``[rows]``; labels are 0 or 1."""
    wrong = np.where(labels == 1, -logits, logits).astype(np.float64)
    losses: Floats = np.maximum(wrong, 0.0) + np.log1p(np.exp(-np.abs(wrong)))
    return losses


def click_shares(logits: npt.NDArray[Any]) -> Floats:
    """Return each row's share of the sum of all click probabilities, even if each is too small for float64."""
    logs = -log_losses(logits, np.ones(len(logits)))
    weights = np.exp(logs - logs.max())
    shares: Floats = weights / weights.sum()
    return shares
