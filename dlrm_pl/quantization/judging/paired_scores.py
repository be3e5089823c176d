"""Scores of the fp32 and the quantized model on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.metrics.logits import click_probabilities, log_losses
from dlrm_pl.metrics.paired import PairedDifference, paired_auroc_difference

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairedScores:
    """Logits of two models on the same rows, with the labels.

    Attributes:
        before: logits of the fp32 model, float32 ``[rows]``.
        after: logits of the quantized model, float32 ``[rows]``.
        labels: 0 or 1, ``[rows]``.
    """

    before: npt.NDArray[np.float32]
    after: npt.NDArray[np.float32]
    labels: npt.NDArray[Any]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def clicks(self) -> int:
        """Number of rows with label 1."""
        return int(np.count_nonzero(self.labels))

    def rows(self, selected: npt.NDArray[Any]) -> PairedScores:
        """Return the scores of some rows, given by their numbers or by a mask."""
        return PairedScores(self.before[selected], self.after[selected], self.labels[selected])

    def auroc_difference(self) -> PairedDifference:
        """The AUROC drop with its standard error.

        Raises:
            MetricError: all rows have the same label.
        """
        # The fp32 logits are the best available estimate of how probable a click is.
        return paired_auroc_difference(self.before, self.after, self.labels, click_logits=self.before)

    def log_losses(self) -> tuple[Floats, Floats]:
        """The log loss of each row by either model, in nats, ``[rows]`` each."""
        return log_losses(self.before, self.labels), log_losses(self.after, self.labels)

    def click_probabilities(self) -> tuple[Floats, Floats]:
        """The click probability of each row by either model, ``[rows]`` each."""
        return click_probabilities(self.before), click_probabilities(self.after)
