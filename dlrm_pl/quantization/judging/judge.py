"""Score a trial and the fp32 model on the same rows until the criterion decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.metrics.rows import check_both_classes
from dlrm_pl.metrics.sequential import next_look
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.criterion import Criterion, Verdict
from dlrm_pl.quantization.judging.evaluation import (
    AUROCEvaluation,
    EvalFunc,
    Scores,
    check_eval_func,
    check_predicts,
    score_with,
)
from dlrm_pl.quantization.judging.slices.cuts import SliceRows, Slices
from dlrm_pl.quantization.judging.tuning_rows import TuningRows


@dataclass(frozen=True)
class Judgement:
    """Verdict on a trial, with its speed.

    Attributes:
        verdict: verdict of the criterion.
        samples_per_s: speed of the trial's forward passes; 0 where unknown.
    """

    verdict: Verdict
    samples_per_s: float


class Judge:
    """Judges trials: keeps the baseline, and scores each trial on the same rows.

    With AUROC and a confidence, it reads rows in growing blocks (``rows`` keeps fp32's scores on them). Any other score
    is computed on all rows.

    Args:
        model: the fp32 model.
        eval_func: score of the search.
        criterion: acceptance rule of the search.
        columns: columns of the rows; None if unknown.

    Raises:
        ConfigurationError: ``eval_func`` cannot score models; the criterion contradicts AUROC; or the criterion guards
            the worst slice by a column that the model does not have, or with an ``eval_func`` that returns no
            probabilities.
    """

    def __init__(self, model: DLRM, eval_func: EvalFunc, criterion: Criterion, columns: Columns | None = None) -> None:
        check_eval_func(eval_func)
        self._eval_func = eval_func
        self._criterion = criterion
        self._baseline: Scores | None = None
        self._model = model
        self.rows: TuningRows | None = None
        """The rows that trials read; None if a user's ``eval_func`` reads its own."""
        if isinstance(eval_func, AUROCEvaluation):
            self.rows = TuningRows(eval_func.batches, model, criterion.max_rows)
            if eval_func.paired:
                criterion.check_auroc()
        self._slices: SliceRows | None = None
        if criterion.worst_slice is not None:
            criterion.worst_slice.check(model.architecture, columns)
            if not isinstance(eval_func, AUROCEvaluation):
                raise ConfigurationError(
                    f"worst_slice by {criterion.worst_slice.by!r} needs the probabilities of each row, but an "
                    "eval_func does not return per-row probabilities. Remove one of the two."
                )
            self._slices = SliceRows(eval_func.batches, criterion.worst_slice, criterion.first_block, columns)

    @property
    def sequential(self) -> bool:
        """True if trials are judged after growing blocks of rows, not only on all rows."""
        return self.paired and self._criterion.confidence is not None

    @property
    def paired(self) -> bool:
        """True if the score is the exact AUROC, not a user's metric or ``eval_func``."""
        return isinstance(self._eval_func, AUROCEvaluation) and self._eval_func.paired

    def baseline(self) -> Scores:
        """Return the fp32 model's scores: on the first block with both classes, or on all rows if not sequential.

        Raises:
            MetricError: all labels are the same, or every probability is 0 in float32.
            NonFiniteError: the score is not finite.
            BaselineError: see ``TuningRows.score_fp32``.
        """
        if self.sequential:
            assert self.rows is not None
            rows = self.rows
            wanted = self._criterion.first_block
            while rows.read_fp32(wanted) >= wanted and not _has_both_classes(rows.labels(rows.rows_read)):
                wanted = 2 * rows.rows_read
            read = rows.rows_read
            logits, labels = rows.fp32(read).copy(), rows.labels(read).copy()
            check_predicts(logits)
            return Scores(exact_auroc(logits, labels), rows.fp32_seconds, logits, labels)
        if self._baseline is None:
            baseline = score_with(self._eval_func, self._model, self._criterion.max_rows)
            if baseline.logits is not None and baseline.labels is not None:
                check_both_classes(int(baseline.labels.sum()), baseline.rows)
                check_predicts(baseline.logits)
            self._baseline = baseline
        return self._baseline

    def drop(self, model: nn.Module) -> float:
        """Return how much worse than fp32 a model scores on all rows, without a verdict.

        Raises:
            DLRMError: see ``score_with``.
        """
        return self._criterion.drop(
            self.baseline().value, score_with(self._eval_func, model, self._criterion.max_rows).value
        )

    def judge(self, model: nn.Module, on_look: Callable[[Verdict], None]) -> Judgement:
        """Score a trial until its verdict is decided, or on all rows.

        Args:
            model: the quantized model.
            on_look: called with the verdict of each look.

        Raises:
            MetricError: the score is undefined, such as the AUROC if all labels are the same.
            NonFiniteError: an output of the model, or the score, is not finite.
        """
        if not self.sequential:
            scores = score_with(self._eval_func, model, self._criterion.max_rows)
            verdict = self._criterion.judge(self.baseline(), scores, slices=self._slices_of(scores.rows))
            on_look(verdict)
            return Judgement(verdict, scores.rows / scores.seconds if scores.rows and scores.seconds else 0.0)
        assert self.rows is not None
        reading = self.rows.reading(model)
        looks, rows = 0, 0
        while True:
            rows = reading.read_to(next_look(rows, self._criterion.first_block))
            labels = reading.labels
            if not reading.exhausted and not _has_both_classes(labels):
                continue  # With a single class there is no AUROC yet: read more rows.
            looks += 1
            verdict = self._criterion.judge(
                # The values 0.0 are not used: both AUROCs are computed together with their difference.
                Scores(0.0, 0.0, reading.fp32, labels),
                Scores(0.0, 0.0, reading.logits, labels),
                look=looks,
                last=reading.exhausted,
                slices=self._slices_of(rows),
            )
            on_look(verdict)
            if verdict.decided:
                return Judgement(verdict, rows / reading.seconds if reading.seconds else 0.0)

    def _slices_of(self, rows: int) -> Slices | None:
        return None if self._slices is None else self._slices.first(rows)


def _has_both_classes(labels: npt.NDArray[np.uint8]) -> bool:
    return bool(labels.any()) and not bool(labels.all())
