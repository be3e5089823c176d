"""Score the fp32 and the int8 model once, side by side, on the certification rows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.metrics.calibration_sums import CalibrationSums
from dlrm_pl.metrics.logits import click_probabilities, log_losses
from dlrm_pl.metrics.paired import PairedDifference
from dlrm_pl.metrics.paired_sums import PairedSums
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.metrics.score_histogram import ScoreHistogram
from dlrm_pl.quantization.judging.certified_bound import JudgedBy, finite
from dlrm_pl.quantization.judging.certified_guard import CertifiedGuard, GuardName, bound_of_guard
from dlrm_pl.quantization.judging.evaluation import check_finite, labels_of
from dlrm_pl.quantization.judging.paired_scores import PairedScores
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice, SliceScores
from dlrm_pl.quantization.judging.slices.slice_rule import SliceRule


@dataclass(frozen=True)
class ModelScores:
    """Metrics of one model on the certification rows.

    Attributes:
        auroc: exact.
        log_loss: mean, in nats.
        normalized_entropy: log loss divided by the entropy of the label rate; below 1, it is better than knowing only
            that rate.
        calibration_ratio: sum of predictions over sum of labels.
        samples_per_s: speed of the forward passes: the number of samples in a full batch divided by the median time of
            full batches.
    """

    auroc: float
    log_loss: float
    normalized_entropy: float
    calibration_ratio: float
    samples_per_s: float


@dataclass(frozen=True)
class Certification:
    """Metrics of the fp32 and the int8 model on the same rows.

    Attributes:
        fp32: metrics of the float model.
        int8: metrics of the quantized model.
        paired: the AUROC drop, fp32 minus int8, with its standard error.
        rows: number of rows scored.
        positives: number of clicks among them.
        log_losses: paired sums of the log losses.
        predictions: paired sums of the click probabilities.
        histograms: histograms of the probabilities of fp32 and int8.
        worst_slice: the slice that lost most; None where no column was named.
        watched: scores of the slice that the rule watches; None where it watches none.
    """

    fp32: ModelScores
    int8: ModelScores
    paired: PairedDifference
    rows: int
    positives: int
    log_losses: PairedSums
    predictions: PairedSums
    histograms: tuple[ScoreHistogram, ScoreHistogram]
    worst_slice: CertifiedSlice | None = None
    watched: SliceScores | None = None

    def guards(
        self, confidence: float, judged_by: JudgedBy, *, log_loss: float | None, calibration_ratio: float | None
    ) -> tuple[CertifiedGuard, ...]:
        """Compare the changes of the probabilities with the tolerances of a criterion.

        Args:
            confidence: confidence of each bound.
            judged_by: whether bounds or estimates decide.
            log_loss: tolerated relative increase of the log loss, and so of normalized entropy, which is the log loss
                divided by a number that depends only on the labels; None: only measured.
            calibration_ratio: tolerated relative shift of sum(predictions) / sum(labels); None: only measured.
        """
        kinds: tuple[tuple[GuardName, PairedSums, float | None], ...] = (
            ("log_loss", self.log_losses, log_loss),
            ("normalized_entropy", self.log_losses, log_loss),
            ("calibration_ratio", self.predictions, calibration_ratio),
        )
        guards = []
        for name, sums, tolerance in kinds:
            guard = CertifiedGuard(
                name=name,
                before=getattr(self.fp32, name),
                after=getattr(self.int8, name),
                change=finite(sums.change),
                standard_error=sums.standard_error,
                tolerance=tolerance,
                passed=None,
            )
            bound = bound_of_guard(guard, confidence, self.rows)
            guards.append(
                replace(
                    guard,
                    passed=guard.passes(bound, judged_by),
                    at_least=finite(bound.low),
                    at_most=finite(bound.high),
                )
            )
        return tuple(guards)


def certify(
    fp32_model: nn.Module, int8_model: nn.Module, batches: Iterable[ClickBatch], rule: SliceRule | None = None
) -> Certification:
    """Score both models batch by batch, in turn, so that a slow moment of the machine affects both.

    Memory: 10 bytes per row for the exact AUROCs and their difference, and one more for the row's slice; the rest is
    sums.

    Args:
        fp32_model: the float model.
        int8_model: the quantized model.
        batches: batches of the certification rows.
        rule: how to judge the worst slice; None if there is no such guard.

    Raises:
        ConfigurationError: a row has several values in the column of the slices, or none.
        MetricError: all labels are the same.
        NonFiniteError: a model returned NaN.
    """
    runs = (Run(fp32_model), Run(int8_model))
    losses, predictions = PairedSums(), PairedSums()
    histograms = (ScoreHistogram(), ScoreHistogram())
    numbers: list[npt.NDArray[np.uint8]] = []
    for batch in batches:
        before, after = (run.score(batch) for run in runs)
        labels = labels_of(batch, 0)
        losses.add(log_losses(before, labels), log_losses(after, labels))
        predictions.add(click_probabilities(before), click_probabilities(after))
        for histogram, logits in zip(histograms, (before, after), strict=True):
            histogram.add(logits, labels)
        if rule is not None:
            numbers.append(rule.slices_of(batch))
    scores = PairedScores(runs[0].logits, runs[1].logits, runs[0].labels)
    worst, watched = None, None
    if rule is not None:
        of_rows = np.concatenate(numbers)
        worst = rule.judge(scores, of_rows)
        watched = rule.watch({"fp32": scores.before, "int8": scores.after}, scores.labels, of_rows)
    return Certification(
        fp32=runs[0].scores(),
        int8=runs[1].scores(),
        paired=scores.auroc_difference(),
        rows=len(scores),
        positives=scores.clicks,
        log_losses=losses,
        predictions=predictions,
        histograms=histograms,
        worst_slice=worst,
        watched=watched,
    )


@dataclass
class Run:
    """One model's pass over batches that the caller supplies one by one."""

    model: nn.Module
    _logits: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _labels: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    _times: list[tuple[int, float]] = field(default_factory=list)
    _calibration: CalibrationSums = field(default_factory=CalibrationSums)
    _rows: int = 0

    def score(self, batch: ClickBatch) -> npt.NDArray[np.float32]:
        """Score one batch; return its logits, ``[rows]``."""
        with torch.inference_mode():
            if not self._times:
                self.model(batch)  # Warm-up: the first pass allocates and, for int8, sets up its kernels.
            began = time.perf_counter()
            logits = self.model(batch).float()
            self._times.append((batch.num_samples, time.perf_counter() - began))
            check_finite(logits, self._rows)
            labels = labels_of(batch, self._rows)
            self._calibration.add(logits, batch.known_labels)
        self._logits.append(logits.numpy())
        self._labels.append(labels)
        self._rows += batch.num_samples
        return self._logits[-1]

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """Logits of all rows so far, ``[rows]``."""
        return np.concatenate(self._logits)

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Labels of all rows so far, ``[rows]``."""
        return np.concatenate(self._labels)

    def scores(self) -> ModelScores:
        """Metrics of all rows so far."""
        full = max(size for size, _ in self._times)
        seconds = float(np.median([time_s for size, time_s in self._times if size == full]))
        calibration = self._calibration.values()
        return ModelScores(
            auroc=exact_auroc(self.logits, self.labels),
            log_loss=calibration["log_loss"],
            normalized_entropy=calibration["normalized_entropy"],
            calibration_ratio=calibration["calibration_ratio"],
            samples_per_s=full / seconds,
        )
