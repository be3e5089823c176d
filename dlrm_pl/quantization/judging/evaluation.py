"""Score a model: the ``eval_func`` of the tuning loop.

Any callable that takes a model and returns a float will do. The one here reads a loader and keeps the logits, and so
lets the criterion judge two models on the same rows.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import DLRMError, EvaluationError, MetricError, NonFiniteError
from dlrm_pl.metrics.auroc import exact_auroc
from dlrm_pl.metrics.logits import click_probabilities
from dlrm_pl.metrics.rows import clicks
from dlrm_pl.metrics.without_sync import without_sync

EvalFunc = Callable[[nn.Module], float]
"""Model -> score. The model takes a ``ClickBatch`` and returns logits ``[B]``.

After a fit on several ranks it runs on rank zero alone: a torchmetrics Metric in it needs ``sync_on_compute=False``."""


@dataclass(frozen=True)
class Scores:
    """What a model scored, and on what.

    Attributes:
        value: the metric.
        seconds: the model's forward passes, without reading the data; the whole call for a user's ``eval_func``.
        logits: float32 ``[rows]``, or None when a user's ``eval_func`` made the score.
        labels: uint8 ``[rows]``, or None.
        paired: the value is the AUROC of these logits, whose drop has a paired test.
    """

    value: float
    seconds: float
    logits: npt.NDArray[np.float32] | None = None
    labels: npt.NDArray[np.uint8] | None = None
    paired: bool = True

    @property
    def rows(self) -> int:
        """Rows scored; 0 when unknown."""
        return 0 if self.labels is None else len(self.labels)


class AUROCEvaluation:
    """AUROC (a torchmetrics Metric) of a model over a loader.

    Args:
        batches: re-iterable.
        metric: takes probabilities and labels, as torchmetrics' own do. None: the exact AUROC of the logits, which
            alone has a paired test.
    """

    def __init__(self, batches: Iterable[ClickBatch], metric: Metric | None = None) -> None:
        self.batches = batches
        self.paired = metric is None
        self.name = "AUROC" if metric is None else type(metric).__name__
        self.metric = None if metric is None else without_sync(metric)

    def __call__(self, model: nn.Module) -> float:
        """The score alone, so that this is an ``EvalFunc``."""
        return self.score(model).value

    def score(self, model: nn.Module, max_rows: int | None = None) -> Scores:
        """The score of all rows, or of the first, with what it was made from.

        Raises:
            NonFiniteError: the model returned NaN or Inf; names the row.
            MetricError: the rows hold a single class, or a label that is neither 0 nor 1.
        """
        logits: list[npt.NDArray[np.float32]] = []
        labels: list[npt.NDArray[np.uint8]] = []
        seconds, rows = 0.0, 0
        for batch in self.batches:
            scores, spent = score_batch(model, batch, rows)
            seconds += spent
            logits.append(scores.numpy())
            labels.append(labels_of(batch, rows))
            rows += batch.num_samples
            if max_rows is not None and rows >= max_rows:
                break
        return self.of(np.concatenate(logits)[:max_rows], np.concatenate(labels)[:max_rows], seconds)

    def of(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], seconds: float = 0.0) -> Scores:
        """The score of logits that are there already.

        Raises:
            MetricError: a single class.
            NonFiniteError: the metric is NaN.
        """
        if self.metric is None:
            return Scores(exact_auroc(logits, labels), seconds, logits, labels)
        self.metric.reset()
        # Labels as integers, which is what torchmetrics' own metrics take; float64 tells apart what logits do.
        self.metric.update(torch.from_numpy(click_probabilities(logits)), torch.from_numpy(labels).int())
        value = float(self.metric.compute())
        if not math.isfinite(value):
            raise NonFiniteError(f"The metric {self.name} is {value}; a finite number is needed.")
        return Scores(value, seconds, logits, labels, paired=False)


def score_with(eval_func: EvalFunc, model: nn.Module, max_rows: int | None = None) -> Scores:
    """Score by any ``eval_func``, with all that it can tell.

    Raises:
        NonFiniteError: it returned NaN or Inf.
        EvaluationError: it raised, says what and where; or it returned something else than a number.
    """
    if isinstance(eval_func, AUROCEvaluation):
        return eval_func.score(model, max_rows)
    began = time.perf_counter()
    try:
        returned = eval_func(model)
    except DLRMError:
        raise
    except Exception as error:  # Code of the user's: whatever it raises fails this trial, and not the search.
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise EvaluationError(
            f"eval_func {name_of(eval_func)} raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        ) from error
    seconds = time.perf_counter() - began
    value = _as_number(returned, eval_func)
    if not math.isfinite(value):
        raise NonFiniteError(f"eval_func {name_of(eval_func)} returned {value}; a finite number is needed.")
    return Scores(value=value, seconds=seconds, paired=False)


def name_of(eval_func: EvalFunc) -> str:
    """The class path of a user's score."""
    named = eval_func if hasattr(eval_func, "__qualname__") else type(eval_func)
    return f"{named.__module__}.{named.__qualname__}"


def _as_number(returned: object, eval_func: EvalFunc) -> float:
    """What a user's score returned, as a float: a number of Python or NumPy, or a tensor that holds one."""
    if isinstance(returned, (Tensor, np.ndarray)) and math.prod(returned.shape) == 1:
        returned = returned.item()
    if isinstance(returned, (int, float, np.integer, np.floating)):
        return float(returned)
    shape = f" of shape {tuple(returned.shape)}" if isinstance(returned, (Tensor, np.ndarray)) else f" {returned!r:.60}"
    raise EvaluationError(
        f"eval_func {name_of(eval_func)} returned a {type(returned).__name__}{shape}; return one number."
    )


def score_batch(model: nn.Module, batch: ClickBatch, first_row: int = 0) -> tuple[Tensor, float]:
    """Logits of a batch, float32 ``[B]``, and the seconds of the forward pass.

    Raises:
        NonFiniteError: the model returned NaN or Inf; names the row, counted from ``first_row``.
    """
    with torch.inference_mode():
        began = time.perf_counter()
        logits = model(batch).float()
        seconds = time.perf_counter() - began
        return check_finite(logits, first_row), seconds


def check_finite(logits: Tensor, first_row: int) -> Tensor:
    """Return the argument, or raise NonFiniteError with the first row that is NaN or infinite."""
    bad = torch.isfinite(logits).logical_not()
    if bool(bad.any()):
        row = first_row + int(bad.nonzero()[0])
        raise NonFiniteError(f"Row {row} scored {logits[bad][0].item()}; the model's weights are not finite.")
    return logits


def check_predicts(logits: npt.NDArray[np.float32]) -> None:
    """Raise where a model that is to be quantized predicts nothing: served, its float32 probabilities are all 0.

    Raises:
        MetricError: states the logits.
    """
    if len(logits) and torch.sigmoid(torch.tensor(float(logits.max()))) == 0:
        raise MetricError(
            f"The fp32 model gives all {len(logits):,} rows a click probability of 0 in float32: its logits lie "
            f"between {logits.min():.6g} and {logits.max():.6g}. There is nothing that a quantized model could keep. "
            "Train it with a lower learning rate, and look at `validate` before you quantize."
        )


def labels_of(batch: ClickBatch, first_row: int) -> npt.NDArray[np.uint8]:
    """Labels of a batch, ``[B]``.

    Raises:
        MetricError: one is neither 0 nor 1; names the row, counted from ``first_row``.
    """
    labels = batch.known_labels.numpy()
    return clicks(labels, first_row).view(np.uint8)
