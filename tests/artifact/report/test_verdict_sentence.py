"""The first sentence of a report, for each outcome and each reason."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.verdict import judge
from dlrm_pl.artifact.report.verdict_sentence import verdict_sentence
from dlrm_pl.artifact.writing.outcome import Outcome
from tests.support.quantization.searches import verdict

ON = "measured on 125,000 test rows with 4,000 clicks"


def certificate(outcome: Outcome, *, low: float | None, high: float | None, **changes: Any) -> Certificate:
    """A certificate for fp32 AUROC 0.8, a drop of 0.0004 and a tolerance of 0.0008, judged as a new one would be."""
    guards = tuple(dataclasses.replace(guard, passed=True) for guard in outcome.certificate.guards)
    values: dict[str, Any] = {
        "fp32": outcome.certificate.fp32 | {"auroc": 0.8},
        "auroc_drop": 0.0004,
        "auroc_drop_at_least": low,
        "auroc_drop_at_most": high,
        "tolerance": 0.0008,
        "rows": 125_000,
        "positives": 4_000,
        "guards": guards,
    }
    found = dataclasses.replace(outcome.certificate, **(values | changes))
    accepted = changes.pop("in_tuning", True)
    judged = judge(found, verdict(0.0, 1.0, accepted=accepted))
    return dataclasses.replace(found, outcome=judged.outcome, reason=judged.reason, rows_needed=judged.rows_needed)


def test_accepted(outcome: Outcome) -> None:
    assert verdict_sentence(certificate(outcome, low=0.0002, high=0.0006)) == (
        "Accepted: the AUROC drop from fp32 to int8 is 0.0500% and at most 0.0750% with 95% confidence, within the "
        f"tolerance of 0.1000%, {ON}."
    )


def test_not_accepted(outcome: Outcome) -> None:
    found = certificate(outcome, low=0.0012, high=0.002, auroc_drop=0.0016)
    assert verdict_sentence(found) == (
        "Not accepted: the AUROC drop from fp32 to int8 is 0.2000% and at least 0.1500% with 95% confidence, beyond "
        f"the tolerance of 0.1000%, {ON}."
    )


def test_undecided(outcome: Outcome) -> None:
    found = certificate(outcome, low=-0.0004, high=0.0012)
    assert found.rows_needed is not None
    assert verdict_sentence(found) == (
        "Undecided: the AUROC drop from fp32 to int8 is 0.0500% and between -0.0500% and 0.1500% with 95% confidence, "
        f"too uncertain for the tolerance of 0.1000%, {ON}; about {found.rows_needed:,} would be enough."
    )


def test_undecided_without_an_estimate_of_the_rows(outcome: Outcome) -> None:
    found = dataclasses.replace(certificate(outcome, low=-0.0004, high=0.0012), rows_needed=None)
    assert verdict_sentence(found).endswith(f"{ON}; the number of rows needed is unknown.")


@pytest.mark.parametrize(("passed", "word"), [(False, "Not accepted"), (None, "Undecided")])
def test_a_guard_that_decides_stands_first(outcome: Outcome, passed: bool | None, word: str) -> None:
    guard, *others = outcome.certificate.guards
    guard = dataclasses.replace(guard, passed=passed)
    others = [dataclasses.replace(other, passed=True) for other in others]
    sentence = verdict_sentence(certificate(outcome, low=0.0002, high=0.0006, guards=(guard, *others)))
    assert sentence.startswith(f"{word}: ")
    assert 0 < sentence.index("log loss 0.9") < sentence.index("the AUROC drop from fp32 to int8 is 0.0500%")
    assert "within the tolerance of 0.1000%" in sentence


def test_a_model_that_the_search_had_rejected(outcome: Outcome) -> None:
    found = certificate(outcome, low=0.0002, high=0.0006)
    found = dataclasses.replace(found, outcome="not accepted", accepted=False)
    assert verdict_sentence(found).startswith(
        "Not accepted: the search rejected this model on the tuning rows; the AUROC drop from fp32 to int8 is 0.0500%"
    )


def test_rows_that_could_not_be_scored(outcome: Outcome) -> None:
    unscored = dataclasses.replace(
        outcome.certificate,
        **Certificate.unmeasured(0.95, "bound"),
        tolerance=math.nan,
        outcome="not accepted",
        accepted=False,
    )
    assert verdict_sentence(unscored) == (
        "Not accepted: the certification rows could not be scored, so the AUROC drop is unknown."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judged_by": "estimate"}, "within the tolerance of 0.1000%, judged without a confidence bound, measured on"),
        ({"score": "F1 <b>"}, "is 0.0500%, which was not judged because trials were scored by F1 <b>, measured on"),
        (
            {"auroc_drop_at_least": None, "auroc_drop_at_most": None},
            "cannot be bounded because a class has fewer than two rows, too uncertain for the tolerance of 0.1000%",
        ),
    ],
)
def test_other_criteria(outcome: Outcome, changes: dict[str, Any], words: str) -> None:
    assert words in verdict_sentence(certificate(outcome, low=0.0002, high=0.0006, **changes))


def test_a_negative_drop_is_a_gain(outcome: Outcome) -> None:
    found = certificate(outcome, low=-0.0012, high=-0.0004, auroc_drop=-0.0008)
    assert "is -0.1000% and at most -0.0500% with 95% confidence, within" in verdict_sentence(found)
