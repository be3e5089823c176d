"""Histogram of click probabilities, with the clicks in each bin, in constant memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.metrics.logits import click_probabilities

# Clicks are rare: bins of equal width in log odds tell 0.1 % from 1 %, which bins of equal width in probability do not.
_LOWEST, _HIGHEST, _STEP = -12.0, 8.0, 0.125


class ScoreHistogram:
    """Number of rows, number of clicks and sum of probabilities in each bin of log odds."""

    def __init__(self) -> None:
        self.edges: npt.NDArray[np.float64] = np.arange(_LOWEST, _HIGHEST + _STEP / 2, _STEP)
        """Edges of the bins in log odds, ``[bins + 1]``; rows beyond them are counted in the first or the last bin."""
        bins = len(self.edges) - 1
        self.rows: npt.NDArray[np.int64] = np.zeros(bins, np.int64)
        """Number of rows, ``[bins]``."""
        self.clicks: npt.NDArray[np.int64] = np.zeros(bins, np.int64)
        """Number of clicks, ``[bins]``."""
        self.predicted: npt.NDArray[np.float64] = np.zeros(bins, np.float64)
        """Sum of the probabilities, ``[bins]``."""

    def add(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> None:
        """Count a batch of logits and labels, ``[rows]`` each."""
        bins = len(self.rows)
        place = np.clip(np.floor((logits.astype(np.float64) - _LOWEST) / _STEP), 0, bins - 1).astype(np.int64)
        self.rows += np.bincount(place, minlength=bins)
        self.clicks += np.bincount(place[labels == 1], minlength=bins)
        self.predicted += np.bincount(place, weights=click_probabilities(logits), minlength=bins)

    def groups(self, count: int = 12) -> list[tuple[float, float, int]]:
        """Merge neighbouring bins into at most ``count`` groups with about equal numbers of rows.

        Returns:
            Mean probability, share of clicks and number of rows of each group.
        """
        wanted = self.rows.sum() / count
        result: list[tuple[float, float, int]] = []
        rows, clicks, predicted = 0, 0, 0.0
        for n, c, p in zip(self.rows.tolist(), self.clicks.tolist(), self.predicted.tolist(), strict=True):
            rows, clicks, predicted = rows + n, clicks + c, predicted + p
            if rows and rows >= wanted:
                result.append((predicted / rows, clicks / rows, rows))
                rows, clicks, predicted = 0, 0, 0.0
        if rows:
            result.append((predicted / rows, clicks / rows, rows))
        return result
