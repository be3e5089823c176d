"""A drop that is confined to one part of the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.quantization.judging.bounds import Bounds
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation, Scores
from dlrm_pl.quantization.judging.judge import Judge
from dlrm_pl.quantization.judging.paired_scores import PairedScores
from dlrm_pl.quantization.judging.slices.cuts import SCORE_NAMES, Slices, WorstSlice
from dlrm_pl.quantization.judging.slices.worst_slice import SliceReading, WorstSliceGuard
from tests.support import tiny

NAMES = ("a", "b", "c", "d")
FIRST, LAST = (Bounds(0.023, num_comparisons=7, last=last) for last in (False, True))
"""Two standard errors; 2.7 for all slices together."""
Drawn = tuple[PairedScores, Slices]


def drawn(rows: int = 40_000, *, noise: dict[int, float] | None = None, shares: Any = None, seed: int = 0) -> Drawn:
    """Return logits of two models that differ by noise in some slices."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(4, size=rows, p=shares).astype(np.uint8)
    logits = rng.normal(scale=1.5, size=rows) - 1
    labels = (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    spread = np.full(rows, 0.001)
    for number, size in (noise or {}).items():
        spread[numbers == number] = size
    first, second = logits, logits + spread * rng.normal(size=rows)
    return PairedScores(first.astype(np.float32), second.astype(np.float32), labels), Slices(NAMES, numbers)


def read(drawn: Drawn, bounds: Bounds, score: Literal["auroc", "log_loss"] = "auroc") -> SliceReading:
    scores, slices = drawn
    return WorstSliceGuard(WorstSlice(by="C1", tolerance=0.01, score=score), slices).read(scores, bounds)


@pytest.mark.parametrize("score", ["auroc", "log_loss"])
@pytest.mark.parametrize("bounds", [FIRST, LAST])
def test_slice_that_lost_much_is_found_and_named(score: Literal["auroc", "log_loss"], bounds: Bounds) -> None:
    arrays = drawn(noise={2: 1.5})
    found = read(arrays, bounds, score)
    assert found.slice == f"{SCORE_NAMES[score]} of c"
    assert found.decision(bounds) == "beyond"
    scores, slices = arrays
    inside = slices.numbers == 2
    before, after, labels = scores.before, scores.after, scores.labels
    if score == "auroc":
        pair = paired_auroc_difference(before[inside], after[inside], labels[inside])
        assert (found.before, found.after) == (pytest.approx(pair.first), pytest.approx(pair.second))
        assert found.change == pytest.approx(pair.second / pair.first - 1)
    else:
        p = 1 / (1 + np.exp(-after[inside].astype(np.float64)))
        expected = -np.log(np.where(labels[inside] == 1, p, 1 - p)).mean()
        assert found.after == pytest.approx(expected)


def test_no_slice_lost_anything() -> None:
    found = read(drawn(), FIRST)
    assert found.decision(FIRST) == "within"
    assert (found.slices, found.too_small) == (4, 0)


def test_before_the_end_the_least_sure_slice_keeps_the_guard_open() -> None:
    found = read(drawn(4000, noise={1: 0.5}), FIRST)
    assert found.slice == "AUROC of b"
    assert found.decision(FIRST) == "open"


def test_slice_with_few_clicks_waits_and_is_counted_at_the_end() -> None:
    arrays = drawn(4000, shares=[0.5, 0.3, 0.198, 0.002])
    waiting = read(arrays, FIRST)
    assert waiting.too_small == 1
    assert waiting.decision(FIRST) == "open"
    final = read(arrays, LAST)
    assert (final.slices, final.too_small) == (3, 1)
    assert final.decision(LAST) == "within"
    assert "worst of 3 slices (AUROC of c; 1 too small)" in final.describe()


def test_slice_too_uncertain_to_tell_the_tolerance_is_too_small_at_the_end() -> None:
    """Noise that costs about 1 %, on too few rows to prove it: no verdict by chance."""
    arrays = drawn(4000, noise={3: 0.6}, shares=[0.45, 0.3, 0.2, 0.05])
    assert (read(arrays, LAST).slices, read(arrays, LAST).too_small) == (3, 1)
    assert read(drawn(400_000, noise={3: 0.6}, shares=[0.45, 0.3, 0.2, 0.05]), LAST).too_small == 0


def test_guard_that_cannot_judge_any_slice_fails() -> None:
    found = read(drawn(100), LAST)
    assert found.slices == 0
    assert found.decision(LAST) == "beyond"
    assert "by C1: all 4 slices are too small to resolve a drop of 1.00%" in found.describe_failure()
    assert read(drawn(100), FIRST).decision(FIRST) == "open"


def test_worst_of_many_equal_slices_is_not_taken_for_a_drop() -> None:
    """All slices lose 0.6 of the tolerance: judged by the largest estimate alone, many samples would look bad."""
    failed = 0
    for seed in range(40):
        arrays = drawn(6000, noise=dict.fromkeys(range(4), 0.33), seed=seed)
        failed += read(arrays, FIRST).decision(FIRST) == "beyond"
    assert failed <= 3  # The nominal rate is at most 1.4 % of 40.


class NoisyPart(nn.Module):
    """The tiny model with noise on the logits of samples that have one id of table 1."""

    def forward(self, batch: ClickBatch) -> Tensor:
        logits: Tensor = tiny.model()(batch)
        rng = torch.Generator().manual_seed(int(1e6 * float(batch.dense.sum())) % 2**31)
        noise = 3 * logits.std() * torch.randn(len(logits), generator=rng)
        return torch.where(batch.indices[1] == 4, logits + noise, logits)


BATCHES = tiny.batches(8, 1000, seed=3)
PLAIN = Criterion(relative=0.1, first_block=1000, log_loss=None, calibration_ratio=None)


@pytest.mark.parametrize("confidence", [0.95, None])
def test_trial_within_the_whole_tolerance_is_rejected_for_one_slice(confidence: float | None) -> None:
    def judged(criterion: Criterion) -> Any:
        judge = Judge(tiny.model(), AUROCEvaluation(BATCHES), replace(criterion, confidence=confidence))
        return judge.judge(NoisyPart(), lambda look: None).verdict

    assert judged(PLAIN).accepted
    verdict = judged(replace(PLAIN, worst_slice=WorstSlice(by="C2", tolerance=0.05)))
    assert not verdict.accepted
    assert "slices (AUROC of C2=4" in verdict.reason
    assert "tolerance 5.00%: failed" in verdict.reason
    assert judged(replace(PLAIN, worst_slice=WorstSlice(by="C1", tolerance=0.5))).accepted


def test_slices_need_probabilities() -> None:
    criterion = replace(PLAIN, worst_slice=WorstSlice(by="C2"))
    with pytest.raises(ConfigurationError, match="worst_slice by 'C2' needs the probabilities"):
        Judge(tiny.model(), lambda model: 0.8, criterion)
    rows = drawn(100)[0]
    scores = Scores(0.8, 1.0, rows.after, rows.labels)
    with pytest.raises(ConfigurationError, match="needs the slices of the rows"):
        criterion.judge(scores, scores)


@pytest.mark.parametrize(("num_comparisons", "decision"), [(1, "beyond"), (23, "open")])
def test_drop_of_one_among_many_must_be_shown_with_a_longer_interval(num_comparisons: int, decision: str) -> None:
    reading = SliceReading("worst_slice", 0.8, 0.79, -0.0125, 0.001, 0.01, higher_is_better=True, slice="a")
    assert reading.decision(Bounds(0.023, num_comparisons, last=False)) == decision
