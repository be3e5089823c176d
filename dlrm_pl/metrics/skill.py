"""Is a model worth anything? What its metrics say when it is no better than chance, or than a constant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LARGEST_MISCALIBRATION = 0.1
"""Of the ratio of predicted and real clicks, that nothing is said of."""

# Standard errors that chance alone may well be off.
_REACH = 2.0
# With fewer a log loss moves by some percent from sample to sample, and hardly by more than so much.
_FEW_CLICKS = 100
_CHANCE_OF_LOSS = 0.1

Kind = Literal["auroc", "normalized_entropy", "calibration_ratio"]


@dataclass(frozen=True)
class SkillWarning:
    """One thing that is wrong with a model: which metric says so, and in words what it means and what to try."""

    kind: Kind
    text: str


def skill_warnings(
    scores: Mapping[str, float], *, model: str, split: str, rows: int, clicks: int
) -> tuple[SkillWarning, ...]:
    """What is to be said of a model; nothing of a metric that is not known.

    Args:
        scores: ``auroc``, ``normalized_entropy`` and ``calibration_ratio``; NaN where unknown.
        model: what was scored, in words.
        split: on which rows, in words.
        rows: how many.
        clicks: among them.
    """
    where = f"on {rows:,} rows of {split} with {clicks:,} clicks"
    found = []
    auroc, entropy, ratio = (scores[name] for name in ("auroc", "normalized_entropy", "calibration_ratio"))
    if auroc <= 0.5:
        # Of the rank sum of two samples without a difference (Mann, Whitney 1947).
        pairs = max(clicks * (rows - clicks), 1)  # Whatever a file states of them.
        reach = _REACH * math.sqrt((rows + 1) / (12 * pairs))
        doubt = f" Chance alone gives {0.5 - reach:.3f} to {0.5 + reach:.3f} on so few clicks: score more rows."
        found.append(
            SkillWarning(
                "auroc",
                f"the AUROC of {model} is {auroc:.6f} {where}: it ranks clicks no better than chance, which has 0.5. "
                "Train longer, or with a lower learning rate if the loss does not fall, and check that the labels "
                "belong to their rows." + (doubt if auroc > 0.5 - reach else ""),
            )
        )
    if entropy >= 1:
        chance = clicks < _FEW_CLICKS and entropy < 1 + _CHANCE_OF_LOSS
        doubt = " With so few clicks this may be chance: score more rows." if chance else ""
        found.append(
            SkillWarning(
                "normalized_entropy",
                f"the normalized entropy of {model} is {entropy:.6f} {where}: its log loss is no better than that of "
                "one constant, the click rate, which has 1. Train longer, lower the learning rate, and stop earlier "
                f"where the model fits its training rows too well.{doubt}",
            )
        )
    if abs(ratio - 1) > LARGEST_MISCALIBRATION:
        # The number of clicks that a calibrated model expects is a Poisson variable's mean, about.
        expected = ratio * clicks
        chance = abs(expected - clicks) <= _REACH * math.sqrt(max(expected, 0.0))
        doubt = " On so few clicks the difference may be chance: score more rows." if chance else ""
        found.append(
            SkillWarning(
                "calibration_ratio",
                f"the calibration ratio of {model} is {ratio:.4g} {where}: it predicts {expected:,.0f} clicks, so "
                "bids that follow its probabilities are wrong by that factor. Train longer, and check that these "
                f"rows and the training rows have the same click rate: both sub-sampled alike, for example.{doubt}",
            )
        )
    return tuple(found)
