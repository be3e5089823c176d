"""Identity of a search, so that no search continues the trial log of another one."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation, EvalFunc, name_of
from dlrm_pl.quantization.judging.row_sets import RowSets
from dlrm_pl.quantization.ptq.quantize import bags_of
from dlrm_pl.quantization.search.objective import Objective
from dlrm_pl.quantization.search.settings import TuningSettings


def search_identity(
    checksum: str, model: DLRM, data: RowSets, settings: TuningSettings, eval_func: EvalFunc | None
) -> dict[str, Any]:
    """Return what the results of trials depend on; a log with another identity is not continued.

    Args:
        checksum: checksum of all weights of the model.
        model: float model.
        data: sets of rows.
        settings: settings of the search.
        eval_func: score of the search; None: AUROC.
    """
    return {
        "model": checksum,
        "dataset": data.dataset_fingerprint,
        "row_ranges": {name: asdict(rows) for name, rows in data.row_ranges.items()},
        "rows": dict(data.row_identities),
        "batch_size": data.batch_size,
        "nonfinite_as_zero": bags_of(model).nonfinite_as_zero,
        **({"pooling": list(model.architecture.pooling)} if model.architecture.pooling else {}),
        **({} if model.trained_quantization is None else {"trained_quantization": dict(model.trained_quantization)}),
        "score": name_of_score(eval_func),
        "options_of_the_score": _options_of(eval_func),
        "recipe": asdict(settings.recipe),
        "criterion": asdict(settings.criterion),
        "strategy": settings.strategy,
        "objective": asdict(Objective.named(settings.objective)),
        "space": asdict(settings.space),
        "seed": settings.seed,
        "versions": {
            "dlrm_pl": version("dlrm-pl"),
            "torch": str(torch.__version__),
            "torchmetrics": version("torchmetrics"),
        },
    }


def name_of_score(eval_func: EvalFunc | None) -> str:
    """Return ``AUROC``, the name of a metric, or the class path of a user's function."""
    if eval_func is None or isinstance(eval_func, AUROCEvaluation):
        return "AUROC" if eval_func is None else eval_func.name
    return name_of(eval_func)


def _options_of(eval_func: EvalFunc | None) -> dict[str, Any]:
    """Return what a score computes: its source, and its public attributes of plain types, such as a threshold."""
    score = eval_func.metric if isinstance(eval_func, AUROCEvaluation) else eval_func
    if score is None:
        return {}
    attributes = vars(score) if hasattr(score, "__dict__") else {}
    states = getattr(score, "_defaults", {})  # A metric has its accumulated states here.
    options = {name: _plain(value) for name, value in attributes.items() if name[0] != "_" and name not in states}
    return {name: value for name, value in options.items() if value is not _NOT_PLAIN} | {"source": _source(score)}


_NOT_PLAIN = object()


def _plain(value: Any) -> Any:
    """Return the value in JSON types, or ``_NOT_PLAIN``."""
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return _NOT_PLAIN if _NOT_PLAIN in items else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        values = {key: _plain(item) for key, item in value.items()}
        return _NOT_PLAIN if _NOT_PLAIN in values.values() else values
    return _NOT_PLAIN


def _source(score: Any) -> str:
    """Return a checksum of the code of a function, or of an object's class; empty where there is no source."""
    try:
        code = inspect.getsource(score if inspect.isroutine(score) else type(score))
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(code.encode()).hexdigest()[:16]
