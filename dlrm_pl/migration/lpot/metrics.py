"""Translate LPOT's metrics of the section ``evaluation`` into torchmetrics for clicks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score

from dlrm_pl.migration.lpot.section import Section

_SUPPORTED = "Supported are Accuracy, topk: 1, F1, MAE, MSE, RMSE and ROC."
_PICTURES = f"this metric is for object detection or images; the model scores clicks. {_SUPPORTED}"
_TEXTS = f"this metric is for text; the model scores clicks. {_SUPPORTED}"
_METRICS: dict[str, str | None] = {
    **dict.fromkeys(("Accuracy", "topk", "F1", "MAE", "MSE", "RMSE", "ROC")),
    "Loss": "the log loss is a guard here, `criterion.log_loss` of the QuantizationCallback. Remove the metric. "
    f"{_SUPPORTED}",
    **dict.fromkeys(("mAP", "COCOmAP", "VOCmAP", "mIOU"), _PICTURES),
    **dict.fromkeys(("BLEU", "SquadF1", "GLUE"), _TEXTS),
}


_MAKERS: dict[str, Callable[[], Metric]] = {
    # With two classes, the top one is correct if the probability is on the correct side of one half.
    "topk": BinaryAccuracy,
    "Accuracy": BinaryAccuracy,
    "F1": BinaryF1Score,
    "MAE": MeanAbsoluteError,
    "MSE": MeanSquaredError,
    "RMSE": partial(MeanSquaredError, squared=False),
}


def metric_of(section: Section) -> Metric | None:
    """Read the metric in ``evaluation.accuracy``; None for AUROC, which is also the default.

    Raises:
        ConfigurationError: the metric is not supported, or cannot tell models apart.
    """
    value = section.values.get("metric")
    if value is None:
        return None
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, Mapping) or len(value) != 1:
        raise section.wrong("metric", "one metric, for example Accuracy: {}")
    (name, arguments), *_ = value.items()
    Section(section.file, section.path, {"metric": name}, section.notes).choice("metric", _METRICS)
    if name == "topk" and arguments not in (None, {}, 1, {"k": 1}):
        raise section.wrong("metric", "topk: 1, since with two classes the best two are always right")
    if arguments and name != "topk":
        section.note(
            "metric",
            f"the arguments {dict(arguments) if isinstance(arguments, Mapping) else arguments} of "
            f"{name} are ignored: it compares probabilities with labels",
        )
    if name in ("Accuracy", "topk", "F1"):
        section.note(
            "metric",
            f"{name} depends on rows whose probability is near one half, which are few; AUROC, the score without "
            "a metric, tells models apart on far fewer rows",
        )
    return _MAKERS[name]() if name in _MAKERS else None
