"""Score the fp32 and the int8 model once on the rows kept for it, side by side, in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.metrics.auroc import exact_auroc
from dlrm_pl.metrics.calibration import ClickCalibration
from dlrm_pl.metrics.local import local
from dlrm_pl.metrics.logits import click_probabilities, log_losses
from dlrm_pl.metrics.paired import PairedDifference, paired_auroc_difference
from dlrm_pl.metrics.paired_sums import PairedSums
from dlrm_pl.metrics.score_histogram import ScoreHistogram
from dlrm_pl.metrics.student import student_quantile
from dlrm_pl.quantization.judging.certified_bound import CertifiedBound, JudgedBy, finite
from dlrm_pl.quantization.judging.certified_slice import CertifiedSlice, SliceRule
from dlrm_pl.quantization.judging.evaluation import check_finite, labels_of
from dlrm_pl.quantization.judging.guards import CertifiedGuard


@dataclass(frozen=True)
class ModelScores:
    """Metrics of one model on the certification rows.

    Attributes:
        auroc: exact.
        log_loss: mean, in nats.
        normalized_entropy: log loss over the entropy of the label rate; below 1 is better than knowing only that.
        calibration_ratio: sum of predictions over sum of labels.
        samples_per_s: of the forward passes: samples of a batch over the median time of the full batches.
    """

    auroc: float
    log_loss: float
    normalized_entropy: float
    calibration_ratio: float
    samples_per_s: float


@dataclass(frozen=True)
class Certification:
    """fp32 beside int8 on the same rows.

    Attributes:
        fp32: metrics of the float model.
        int8: metrics of the quantized model.
        paired: the AUROC drop, fp32 minus int8, with its standard error.
        rows: scored by each.
        positives: clicks among them.
        log_losses: of each row, paired.
        predictions: click probabilities, paired.
        histograms: of the probabilities, fp32 and int8.
        worst_slice: that lost most; None where no column was named.
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

    def guards(
        self, confidence: float, judged_by: JudgedBy, *, log_loss: float | None, calibration_ratio: float | None
    ) -> tuple[CertifiedGuard, ...]:
        """What became of the probabilities, held against the tolerances of a criterion.

        Args:
            confidence: of each bound.
            judged_by: whether bounds or estimates decide.
            log_loss: tolerated relative increase of the log loss, and so of normalized entropy, which is the log loss
                over a number that the labels alone decide; None: only measured.
            calibration_ratio: tolerated relative shift of sum(predictions) / sum(labels); None: only measured.
        """
        kinds = (
            ("log_loss", self.log_losses, log_loss, False),
            ("normalized_entropy", self.log_losses, log_loss, False),
            ("calibration_ratio", self.predictions, calibration_ratio, True),
        )
        found = []
        for name, sums, tolerance, two_sided in kinds:
            off, error = abs(sums.change) if two_sided else sums.change, sums.standard_error
            reach = math.inf if error is None else student_quantile(confidence, math.inf) * error
            if math.isinf(off):
                reach = 0.0  # Something that came of nothing is beyond any tolerance.
            bound = CertifiedBound(off, max(0.0, off - reach) if two_sided else off - reach, off + reach, self.rows)
            found.append(
                CertifiedGuard(
                    name=name,
                    before=getattr(self.fp32, name),
                    after=getattr(self.int8, name),
                    change=finite(sums.change),
                    standard_error=error,
                    tolerance=tolerance,
                    at_least=finite(bound.low),
                    at_most=finite(bound.high),
                    held=True if tolerance is None else bound.held(tolerance, judged_by),
                )
            )
        return tuple(found)


def certify(
    fp32_model: nn.Module, int8_model: nn.Module, batches: Iterable[ClickBatch], rule: SliceRule | None = None
) -> Certification:
    """Score both models batch by batch, in turn, so that a slow moment of the machine meets both.

    Memory: 10 bytes a row, for the exact AUROCs and their difference, and one more for its slice; all else is sums.

    Args:
        fp32_model: the float model.
        int8_model: the quantized one.
        batches: the certification rows.
        rule: of the worst slice; None where it is not guarded.

    Raises:
        ConfigurationError: a row has several values of the column of the slices, or none.
        MetricError: the rows hold a single class.
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
    labels, scored = runs[0].labels, [run.logits for run in runs]
    return Certification(
        fp32=runs[0].scores(),
        int8=runs[1].scores(),
        paired=paired_auroc_difference(scored[0], scored[1], labels, click_logits=scored[0]),
        rows=len(labels),
        positives=int(labels.sum()),
        log_losses=losses,
        predictions=predictions,
        histograms=histograms,
        worst_slice=None if rule is None else rule.judge(scored[0], scored[1], labels, np.concatenate(numbers)),
    )


@dataclass
class Run:
    """One model's pass over batches that the caller hands it one by one."""

    model: nn.Module
    _logits: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _labels: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    _times: list[tuple[int, float]] = field(default_factory=list)
    _calibration: ClickCalibration = field(default_factory=lambda: local(ClickCalibration()))
    _rows: int = 0

    def score(self, batch: ClickBatch) -> npt.NDArray[np.float32]:
        """Add one batch; returns its logits, ``[rows]``."""
        with torch.inference_mode():
            if not self._times:
                self.model(batch)  # Warm-up: the first pass allocates and, for int8, sets up its kernels.
            began = time.perf_counter()
            logits = self.model(batch).float()
            self._times.append((batch.num_samples, time.perf_counter() - began))
            check_finite(logits, self._rows)
            labels = labels_of(batch, self._rows)
            self._calibration.update(logits, batch.known_labels)
        self._logits.append(logits.numpy())
        self._labels.append(labels)
        self._rows += batch.num_samples
        return self._logits[-1]

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """Of all rows so far, ``[rows]``."""
        return np.concatenate(self._logits)

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Of all rows so far, ``[rows]``."""
        return np.concatenate(self._labels)

    def scores(self) -> ModelScores:
        """The metrics of all rows so far."""
        full = max(size for size, _ in self._times)
        seconds = float(np.median([time_s for size, time_s in self._times if size == full]))
        calibration = {name: float(value) for name, value in self._calibration.compute().items()}
        return ModelScores(
            auroc=exact_auroc(self.logits, self.labels),
            log_loss=calibration["log_loss"],
            normalized_entropy=calibration["normalized_entropy"],
            calibration_ratio=calibration["calibration_ratio"],
            samples_per_s=full / seconds,
        )
