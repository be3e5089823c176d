"""Score a model: the ``eval_func`` of the search.

Any callable that takes a model and returns a float can be one. ``AUROCEvaluation`` reads a loader and keeps the logits,
so that the criterion can judge two models on the same rows.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ConfigurationError, DLRMError, EvaluationError, MetricError, NonFiniteError
from dlrm_pl.metrics.logits import click_probabilities
from dlrm_pl.metrics.metric import Metric
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.metrics.rows import clicks
from dlrm_pl.metrics.without_sync import without_sync

EvalFunc = Callable[[nn.Module], float]
"""Model -> score. The model takes a ``ClickBatch`` and returns logits ``[B]``.

After a fit on several ranks it runs on rank zero only, so a torchmetrics Metric in it needs ``sync_on_compute=False``.
"""


@dataclass(frozen=True)
class Scores:
    """The score of a model, with the logits and labels it was computed from.

    Attributes:
        value: the score.
        seconds: time of the model's forward passes, without reading the data; for a user's ``eval_func``, the time of
            the whole call.
        logits: logits of all rows, float32 ``[rows]``; None for a user's ``eval_func``.
        labels: labels of the same rows, uint8 ``[rows]``; None likewise.
        paired: whether the value is the AUROC of these logits, the only score with a paired test.

    Example:
        >>> from dlrm_pl.quantization import Scores
        >>> Scores(value=0.79, seconds=1.5, paired=False).rows
        0
    """

    value: float
    seconds: float
    logits: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    labels: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    paired: bool = True

    @property
    def rows(self) -> int:
        """Number of rows scored; 0 if unknown."""
        return 0 if self.labels is None else len(self.labels)


class AUROCEvaluation:
    """Scores a model over batches: exact AUROC, or another torchmetrics Metric.

    Args:
        batches: re-iterable batches.
        metric: torchmetrics Metric whose ``update`` takes probabilities and labels; None: the exact AUROC of the
            logits, the only score with a paired test.

    Raises:
        ConfigurationError: an argument has the wrong type.

    Example:
        >>> import torch
        >>> from dlrm_pl import DLRM, Architecture, AUROCEvaluation, ClickBatch
        >>> model = DLRM(Architecture(table_sizes=(9, 9), embedding_dim=2, bottom_mlp=(3, 2), top_mlp=(1,))).eval()
        >>> batch = ClickBatch(torch.rand(8, 3), torch.randint(9, (2, 8)), None, torch.tensor([0.0, 1.0] * 4))
        >>> 0 <= AUROCEvaluation([batch])(model) <= 1
        True
    """

    def __init__(self, batches: Iterable[ClickBatch], metric: Metric | None = None) -> None:
        if isinstance(batches, str) or not isinstance(batches, Iterable):
            raise ConfigurationError(f"batches={shown(batches)} must be re-iterable batches, for example a list.")
        if metric is not None and not isinstance(metric, Metric):
            raise ConfigurationError(f"metric={shown(metric)} must be a torchmetrics Metric.")
        self.batches = batches
        self.paired = metric is None
        self.name = "AUROC" if metric is None else type(metric).__name__
        self.metric = None if metric is None else without_sync(metric)

    def __repr__(self) -> str:
        """Name the score."""
        return f"AUROCEvaluation({self.name})"

    def __call__(self, model: nn.Module) -> float:
        """Return the score alone, so that this is an ``EvalFunc``."""
        return self.score(model).value

    def score(self, model: nn.Module, max_rows: int | None = None) -> Scores:
        """Score all rows, or the first ``max_rows``.

        Raises:
            NonFiniteError: the model returned NaN or infinity; the message names the row.
            MetricError: all labels are the same, or one is neither 0 nor 1.
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
        """Score precomputed logits.

        Raises:
            MetricError: all labels are the same.
            NonFiniteError: the metric is NaN or infinite.
        """
        if self.metric is None:
            return Scores(exact_auroc(logits, labels), seconds, logits, labels)
        self.metric.reset()
        # torchmetrics' own metrics take integer labels; float64 probabilities keep all differences between the logits.
        self.metric.update(torch.from_numpy(click_probabilities(logits)), torch.from_numpy(labels).int())
        value = float(self.metric.compute())
        if not math.isfinite(value):
            raise NonFiniteError(f"The metric {self.name} is {value}; it must be a finite number.")
        return Scores(value, seconds, logits, labels, paired=False)


def score_with(eval_func: EvalFunc, model: nn.Module, max_rows: int | None = None) -> Scores:
    """Score a model with any ``eval_func``; with logits and labels if it keeps them.

    Raises:
        NonFiniteError: the score is NaN or infinite.
        EvaluationError: ``eval_func`` raised an error (the message says which and where), or returned something other
            than a number.
    """
    if isinstance(eval_func, AUROCEvaluation):
        return eval_func.score(model, max_rows)
    began = time.perf_counter()
    try:
        returned = eval_func(model)
    except DLRMError:
        raise
    except Exception as error:  # User code: whatever it raises fails only this trial, not the search.
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise EvaluationError(
            f"eval_func {name_of(eval_func)} raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        ) from error
    seconds = time.perf_counter() - began
    value = _as_number(returned, eval_func)
    if not math.isfinite(value):
        raise NonFiniteError(f"eval_func {name_of(eval_func)} returned {value}; it must return a finite number.")
    return Scores(value=value, seconds=seconds, paired=False)


def check_eval_func(eval_func: object) -> None:
    """Raise unless the search can score models with this function.

    Raises:
        ConfigurationError: it is a metric without rows, or something that cannot be called.
    """
    if isinstance(eval_func, Metric):
        raise ConfigurationError(
            f"eval_func is the metric {type(eval_func).__name__}, which scores predictions, not models. Pass "
            f"AUROCEvaluation(batches, {type(eval_func).__name__}()), or AUROCEvaluation(batches) for the exact "
            "AUROC."
        )
    if not callable(eval_func):
        raise ConfigurationError(
            f"eval_func={eval_func!r:.60} must be a function that takes a model and returns a number."
        )


def name_of(eval_func: EvalFunc) -> str:
    """Return the class path of a user's score."""
    named = eval_func if hasattr(eval_func, "__qualname__") else type(eval_func)
    return f"{named.__module__}.{named.__qualname__}"


def _as_number(returned: object, eval_func: EvalFunc) -> float:
    """Convert what a user's score returned to a float: a number of Python or NumPy, or a tensor of one element."""
    if isinstance(returned, (Tensor, np.ndarray)) and math.prod(returned.shape) == 1:
        returned = returned.item()
    if isinstance(returned, (int, float, np.integer, np.floating)):
        return float(returned)
    shape = f" of shape {tuple(returned.shape)}" if isinstance(returned, (Tensor, np.ndarray)) else f" {returned!r:.60}"
    raise EvaluationError(
        f"eval_func {name_of(eval_func)} returned a {type(returned).__name__}{shape}; return one number."
    )


def score_batch(model: nn.Module, batch: ClickBatch, first_row: int = 0) -> tuple[Tensor, float]:
    """Return the logits of a batch, float32 ``[B]``, and the seconds of the forward pass.

    Raises:
        NonFiniteError: the model returned NaN or Inf; the message names the row, counted from ``first_row``.
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
        raise NonFiniteError(f"The score of row {row} is {logits[bad][0].item()}; the model's weights are not finite.")
    return logits


def check_predicts(logits: npt.NDArray[np.float32]) -> None:
    """Raise if all float32 probabilities of a model that is to be quantized are 0.

    Raises:
        MetricError: all are 0; the message states the range of the logits.
    """
    if len(logits) and torch.sigmoid(torch.tensor(float(logits.max()))) == 0:
        raise MetricError(
            f"The fp32 model gives all {len(logits):,} rows a click probability of 0 in float32: its logits lie "
            f"between {logits.min():.6g} and {logits.max():.6g}. There is no point in quantizing it. Train it with a "
            "lower learning rate, and check it with `validate` before you quantize."
        )


def labels_of(batch: ClickBatch, first_row: int) -> npt.NDArray[np.uint8]:
    """Return the labels of a batch, uint8 ``[B]``.

    Raises:
        MetricError: a label is neither 0 nor 1; the message names the row, counted from ``first_row``.
    """
    labels = batch.known_labels.numpy()
    return clicks(labels, first_row).view(np.uint8)
