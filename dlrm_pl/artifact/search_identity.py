"""What tells a search from another one, so that no log is continued by a search of other things."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from dlrm_pl.artifact.fingerprint import model_fingerprint
from dlrm_pl.artifact.quantization_data import QuantizationData
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.evaluation import AUROCEvaluation, EvalFunc, name_of
from dlrm_pl.quantization.objective import Objective
from dlrm_pl.quantization.post_training import bags_of
from dlrm_pl.quantization.settings import TuningSettings


def search_identity(
    model: DLRM, data: QuantizationData, settings: TuningSettings, eval_func: EvalFunc | None
) -> dict[str, Any]:
    """What the results of trials depend on; a log of other ones is not continued."""
    return {
        "model": model_fingerprint(model),
        "dataset": data.dataset_fingerprint,
        "row_ranges": {name: asdict(rows) for name, rows in data.row_ranges.items()},
        "batch_size": data.batch_size,
        "nonfinite_as_zero": bags_of(model).nonfinite_as_zero,
        "score": name_of_score(eval_func),
        "options_of_the_score": _options_of(eval_func),
        "recipe": asdict(settings.recipe),
        "criterion": asdict(settings.criterion),
        "strategy": settings.strategy,
        "objective": asdict(Objective.named(settings.objective)),
        "space": asdict(settings.space),
        "seed": settings.seed,
        "versions": {"dlrm_pl": version("dlrm-pl"), "torch": str(torch.__version__)},
    }


def name_of_score(eval_func: EvalFunc | None) -> str:
    """AUROC, the name of a metric, or the class path of the user's own."""
    if eval_func is None or isinstance(eval_func, AUROCEvaluation):
        return "AUROC" if eval_func is None else eval_func.name
    return name_of(eval_func)


def _options_of(eval_func: EvalFunc | None) -> dict[str, Any]:
    """Plain public attributes of a metric or of a user's score, as the threshold of an F1 is."""
    score = eval_func.metric if isinstance(eval_func, AUROCEvaluation) else eval_func
    plain = (bool, int, float, str, type(None))
    found = vars(score) if hasattr(score, "__dict__") else {}
    return {name: value for name, value in found.items() if name[0] != "_" and isinstance(value, plain)}
