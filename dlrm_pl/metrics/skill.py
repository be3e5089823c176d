"""Warnings about a model that is no better than chance or than a constant prediction, or that is miscalibrated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LARGEST_MISCALIBRATION = 0.1
"""Largest distance of the calibration ratio from 1 that causes no warning."""

# Number of standard errors that chance alone may explain.
_REACH = 2.0
# With fewer clicks than the first number, the log loss varies from sample to sample by some percent, and rarely by more
# than the second number.
_FEW_CLICKS = 100
_CHANCE_OF_LOSS = 0.1

Kind = Literal["auroc", "normalized_entropy", "calibration_ratio"]


@dataclass(frozen=True)
class SkillWarning:
    """A warning about a model: the metric, what its value means and what to try."""

    kind: Kind
    text: str


def skill_warnings(
    scores: Mapping[str, float], *, model: str, split: str, rows: int, clicks: int
) -> tuple[SkillWarning, ...]:
    """Return the warnings for the metrics of a model; unknown metrics give none.

    Args:
        scores: ``auroc``, ``normalized_entropy`` and ``calibration_ratio``; NaN where unknown.
        model: name of the model in the text.
        split: split of the dataset that was scored.
        rows: number of rows scored.
        clicks: number of clicks among them.
    """
    where = f"on {rows:,} rows of {split} with {clicks:,} clicks"
    warnings = []
    auroc, entropy, ratio = (scores[name] for name in ("auroc", "normalized_entropy", "calibration_ratio"))
    if auroc <= 0.5:
        # Standard error of the AUROC of two samples from the same distribution (Mann, Whitney 1947).
        pairs = max(clicks * (rows - clicks), 1)  # A damaged file may state any numbers.
        reach = _REACH * math.sqrt((rows + 1) / (12 * pairs))
        doubt = f" With so few clicks, chance alone gives {0.5 - reach:.3f} to {0.5 + reach:.3f}: score more rows."
        warnings.append(
            SkillWarning(
                "auroc",
                f"the AUROC of {model} is {auroc:.6f} {where}: it ranks clicks no better than chance, whose AUROC is "
                "0.5. Train longer, or with a lower learning rate if the loss does not fall, and check that the "
                "labels belong to their rows." + (doubt if auroc > 0.5 - reach else ""),
            )
        )
    if entropy >= 1:
        chance = clicks < _FEW_CLICKS and entropy < 1 + _CHANCE_OF_LOSS
        doubt = " With so few clicks this may be chance: score more rows." if chance else ""
        warnings.append(
            SkillWarning(
                "normalized_entropy",
                f"the normalized entropy of {model} is {entropy:.6f} {where}: its log loss is no better than that of "
                "predicting the click rate for every row, for which it is 1. Train longer, lower the learning rate, "
                f"or stop earlier if the model overfits.{doubt}",
            )
        )
    if abs(ratio - 1) > LARGEST_MISCALIBRATION:
        # The number of clicks is about Poisson-distributed, with the number that a calibrated model expects as its
        # mean.
        expected = ratio * clicks
        chance = abs(expected - clicks) <= _REACH * math.sqrt(max(expected, 0.0))
        doubt = " With so few clicks the difference may be chance: score more rows." if chance else ""
        warnings.append(
            SkillWarning(
                "calibration_ratio",
                f"the calibration ratio of {model} is {ratio:.4g} {where}: it predicts {expected:,.0f} clicks, so "
                "bids based on its probabilities are wrong by that factor. Train longer, and check that these rows "
                "and the training rows have the same click rate, for example because both are sub-sampled in the "
                f"same way.{doubt}",
            )
        )
    return tuple(warnings)
