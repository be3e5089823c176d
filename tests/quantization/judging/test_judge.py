"""How many rows a trial reads, and which rows fp32 scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.errors import EvaluationError, MetricError, NonFiniteError
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.quantization.judging.criterion import Criterion, Verdict
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation, EvalFunc
from dlrm_pl.quantization.judging.judge import Judge
from tests.support import tiny

BLOCK = 250
BATCHES = tiny.batches(32, BLOCK, seed=3)
CRITERION = Criterion(relative=0.05, first_block=BLOCK, log_loss=None, calibration_ratio=None)


class Counting:
    """Batches that count how many were taken."""

    def __init__(self, batches: list[ClickBatch] = BATCHES) -> None:
        self.batches, self.taken = batches, 0

    def __iter__(self) -> Iterator[ClickBatch]:
        for batch in self.batches:
            self.taken += 1
            yield batch


class Noisy(nn.Module):
    """The tiny model with per-row noise in its logits, always the same, which counts the rows that it scores."""

    def __init__(self, noise: float, shift: float = 0.0, factor: float = 1.0) -> None:
        super().__init__()
        self.model, self.noise, self.shift, self.factor, self.rows = tiny.model(), noise, shift, factor, 0

    def forward(self, batch: ClickBatch) -> Tensor:
        self.rows += batch.num_samples
        logits = self.model(batch)
        rng = torch.Generator().manual_seed(int(1e6 * float(batch.dense.sum())) % 2**31)
        return self.factor * logits + self.shift + self.noise * torch.randn(len(logits), generator=rng)


def judge(
    trial: nn.Module, criterion: Criterion = CRITERION, batches: object = BATCHES, fp32: nn.Module | None = None
) -> tuple[Verdict, list[Verdict]]:
    looks: list[Verdict] = []
    model = tiny.model() if fp32 is None else fp32
    referee = Judge(model, AUROCEvaluation(batches), criterion)  # type: ignore[arg-type]
    return referee.judge(trial, looks.append).verdict, looks


def test_clear_trials_read_one_block_and_unclear_ones_more() -> None:
    good, _ = judge(Noisy(0.0001))
    bad, _ = judge(Noisy(5.0))
    near, looks = judge(Noisy(0.0045))
    assert (good.accepted, good.rows) == (True, BLOCK)
    assert (bad.accepted, bad.rows) == (False, BLOCK)
    assert near.rows >= BLOCK
    assert [look.decided for look in looks] == [False] * (len(looks) - 1) + [True]


def test_looks_double_their_rows_until_there_are_no_more() -> None:
    drop = judge(Noisy(0.05), Criterion(absolute=0.4))[0].drop
    verdict, looks = judge(
        Noisy(0.05), Criterion(absolute=drop, first_block=BLOCK, log_loss=None, calibration_ratio=None)
    )
    assert [look.rows for look in looks] == [250, 500, 1000, 2000, 4000, 8000]
    assert not verdict.accepted
    assert "with 95% confidence on all 8,000 rows" in verdict.reason


def test_verdict_is_of_the_rows_that_were_read() -> None:
    trial = Noisy(0.05)
    verdict, _ = judge(trial, Criterion(relative=0.5, first_block=1000))
    assert verdict.rows == 1000
    assert trial.rows == 1000
    with torch.no_grad():
        scores = [torch.cat([model(b) for b in BATCHES[:4]]).numpy() for model in (tiny.model(), trial)]
    labels = torch.cat([b.labels for b in BATCHES[:4]]).numpy()
    expected = exact_auroc(scores[0], labels), exact_auroc(scores[1], labels)
    assert (verdict.baseline, verdict.score) == pytest.approx(expected, abs=1e-12)


def test_fp32_scores_each_row_once_for_all_trials() -> None:
    fp32 = Noisy(0.0)
    referee = Judge(fp32, AUROCEvaluation(BATCHES), CRITERION)  # type: ignore[arg-type]
    referee.baseline()
    assert fp32.rows == BLOCK
    for _ in range(3):
        referee.judge(Noisy(0.0001), lambda look: None)
    assert fp32.rows == BLOCK


def test_max_rows_bounds_what_is_read_also_inside_a_batch() -> None:
    drop = judge(Noisy(0.05), Criterion(relative=0.5, confidence=None, max_rows=620))[0].drop
    trial = Noisy(0.05)
    unguarded = Criterion(absolute=abs(drop), first_block=BLOCK, max_rows=620, log_loss=None, calibration_ratio=None)
    verdict, _ = judge(trial, unguarded)
    assert verdict.rows == trial.rows == 620
    whole, _ = judge(Noisy(0.05), Criterion(absolute=0.0, confidence=None, max_rows=620))
    assert whole.rows == 620


def test_without_confidence_all_rows_are_scored_and_the_reason_says_so() -> None:
    verdict, looks = judge(Noisy(0.0001), Criterion(relative=0.05, confidence=None, first_block=BLOCK))
    assert (verdict.rows, len(looks)) == (8000, 1)
    assert "confidence: null" in verdict.reason


def test_single_class_block_is_read_past() -> None:
    none = [batch._replace(labels=torch.zeros(BLOCK)) for batch in BATCHES[:3]]
    verdict, looks = judge(Noisy(0.0001), batches=none + BATCHES[3:])
    assert verdict.accepted
    assert verdict.rows == 4 * BLOCK
    assert verdict.looks == len(looks) == 1


def test_single_class_everywhere_is_an_error() -> None:
    none = [batch._replace(labels=torch.zeros(BLOCK)) for batch in BATCHES]
    with pytest.raises(MetricError, match="0 clicks among 8000 rows"):
        Judge(tiny.model(), AUROCEvaluation(none), CRITERION).baseline()


def test_no_more_data_is_read_than_looked_at_but_for_one_batch() -> None:
    batches = Counting()
    judge(Noisy(0.0001), batches=batches)
    assert batches.taken <= 2


def test_guards_end_a_trial_as_early_as_the_drop_does() -> None:
    guarded = Criterion(relative=0.05, first_block=BLOCK)
    verdict, _ = judge(Noisy(0.0, shift=1.0), guarded)
    assert not verdict.accepted
    assert verdict.rows == BLOCK
    assert "calibration ratio" in verdict.reason
    fine, _ = judge(Noisy(0.0, shift=0.001), guarded)
    assert fine.accepted


def test_guard_that_is_unsure_asks_for_more_rows_and_then_its_estimate_counts() -> None:
    """One row's noise hardly changes a sum, so near a narrow guard the first block is inconclusive."""
    trial = Noisy(0.02)
    plain, _ = judge(trial, Criterion(relative=0.5, first_block=BLOCK, log_loss=None, calibration_ratio=None))
    assert plain.rows == BLOCK
    change = judge(trial, Criterion(relative=0.5, confidence=None))[0].guards[0].change
    verdict, _ = judge(trial, Criterion(relative=0.5, first_block=BLOCK, log_loss=change + 1e-9))
    assert verdict.rows == 8000
    assert verdict.accepted
    assert not judge(trial, Criterion(relative=0.5, first_block=BLOCK, log_loss=change - 1e-9))[0].accepted


def test_reading_names_the_row_that_is_no_number() -> None:
    class Broken(Noisy):
        def forward(self, batch: ClickBatch) -> Tensor:
            logits = super().forward(batch)
            logits[7] = float("nan")
            return logits

    with pytest.raises(NonFiniteError, match="The score of row 7 is nan"):
        judge(Broken(0.0))


def test_eval_func_that_raises_anything_is_an_error_of_ours_with_its_words() -> None:
    def eval_func(model: nn.Module) -> float:
        raise ZeroDivisionError("no clicks today")

    function: EvalFunc = eval_func
    with pytest.raises(EvaluationError, match=r"eval_func.* raised ZeroDivisionError: no clicks today"):
        Judge(tiny.model(), function, CRITERION).baseline()


@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize("count", [0, 1, 33, 64])
def test_first_samples_score_as_they_do_in_the_whole_batch(count: int, multi_hot: bool) -> None:
    batch = tiny.batches(1, 64)[0]
    batch = tiny.as_multi_hot(batch) if multi_hot else batch
    part = first_samples(batch, count)
    assert part.num_samples == len(part.labels) == count
    if count:
        with torch.no_grad():
            np.testing.assert_allclose(tiny.model()(part), tiny.model()(batch)[:count], rtol=1e-6, atol=1e-7)


def test_first_samples_of_uneven_bags() -> None:
    """Two tables, three samples, bags of 0 to 2 rows."""
    offsets = torch.tensor([0, 2, 2, 3, 4, 6, 7])
    batch = ClickBatch(torch.zeros(3, 13), torch.arange(7), offsets, torch.tensor([0.0, 1, 0]))
    part = first_samples(batch, 2)
    assert part.indices.tolist() == [0, 1, 3, 4, 5]
    assert part.offsets is not None
    assert part.offsets.tolist() == [0, 2, 2, 3, 5]
