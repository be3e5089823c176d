"""Warnings about models no better than chance or a constant, and none about other models."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.metrics.skill import SkillWarning, skill_warnings

GOOD = {"auroc": 0.7, "normalized_entropy": 0.9, "calibration_ratio": 1.02}


def of(rows: int = 100_000, clicks: int = 3000, **scores: float) -> tuple[SkillWarning, ...]:
    return skill_warnings(GOOD | scores, model="the fp32 model", split="val", rows=rows, clicks=clicks)


def test_nothing_is_said_of_a_model_with_skill_or_of_what_is_unknown() -> None:
    assert of() == ()
    assert of(auroc=0.500001, normalized_entropy=0.9999, calibration_ratio=0.901) == ()
    assert of(**dict.fromkeys(GOOD, math.nan)) == ()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("auroc", 0.4526, r"AUROC of the fp32 model is 0.452600 on 100,000 rows of val with 3,000 clicks: it ranks"),
        ("auroc", 0.5, "no better than chance, whose AUROC is 0.5"),
        (
            "normalized_entropy",
            1.0,
            "no better than that of predicting the click rate for every row, for which it is 1",
        ),
        ("calibration_ratio", 25.86, "is 25.86 on 100,000 rows of val with 3,000 clicks: it predicts 77,580 clicks"),
        ("calibration_ratio", 0.5, "it predicts 1,500 clicks"),
        ("calibration_ratio", 0.0, "it predicts 0 clicks"),
    ],
)
def test_warning_about_missing_skill_says_what_it_means_and_what_to_try(name: str, value: float, words: str) -> None:
    (found,) = of(**{name: value})
    assert found.kind == name
    assert words in found.text
    assert "Train longer" in found.text
    assert "so few" not in found.text or value == 0.5


@pytest.mark.parametrize("clicks", [0, 10, 11])
def test_numbers_that_contradict_each_other_raise_nothing(clicks: int) -> None:
    """For example in an edited certificate."""
    assert len(of(10, clicks, auroc=-1.0, normalized_entropy=1e300, calibration_ratio=-1e300)) == 3


def test_few_clicks_are_said_to_tell_little() -> None:
    auroc, entropy, ratio = of(500, 20, auroc=0.46, normalized_entropy=1.01, calibration_ratio=1.3)
    assert "With so few clicks, chance alone gives 0.368 to 0.632" in auroc.text
    assert "may be chance" in entropy.text
    assert "may be chance" in ratio.text
    for sure in of(100_000, 3000, auroc=0.46, normalized_entropy=1.01, calibration_ratio=1.3):
        assert "chance:" not in sure.text
        assert "Chance alone" not in sure.text
    (clear,) = of(500, 20, normalized_entropy=23.7)
    assert "chance" not in clear.text


def test_auroc_of_chance_lies_where_it_is_said_to() -> None:
    """Within two standard errors in about 95 % of samples of meaningless scores."""
    rng = np.random.default_rng(0)
    labels = np.arange(500) < 20
    inside = sum(0.368 <= exact_auroc(rng.random(500), labels) <= 0.632 for _ in range(400))
    assert 0.92 < inside / 400 < 0.98
