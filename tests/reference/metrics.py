"""AUROC and its variance by counting all pairs; imports nothing of dlrm_pl."""

from __future__ import annotations

import numpy as np


def wins(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``[clicks, non-clicks]``: 1 where the click scores higher, 0.5 on a tie."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    return (positives[:, None] > negatives[None]) + 0.5 * (positives[:, None] == negatives[None])


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(wins(scores, labels).mean())


def paired_standard_error(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> float:
    """Return the standard error of the difference by DeLong's covariance matrices of the structural components."""
    kernels = [wins(scores, labels) for scores in (first, second)]
    of_positives = np.cov([kernel.mean(axis=1) for kernel in kernels])
    of_negatives = np.cov([kernel.mean(axis=0) for kernel in kernels])
    covariance = of_positives / kernels[0].shape[0] + of_negatives / kernels[0].shape[1]
    contrast = np.array([1, -1])
    return float(np.sqrt(max(contrast @ covariance @ contrast, 0)))
