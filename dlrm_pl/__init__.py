"""DLRM on PyTorch Lightning, from raw click logs to an int8 model whose loss of AUROC is certified.

The public names are below. Each is imported when it is first used, so that ``import dlrm_pl`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # As type checkers know it; `typing` takes longer to load than all that is here.
if TYPE_CHECKING:
    from typing import Any

    from dlrm_pl.artifact.build import build_artifact
    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.batch import ClickBatch
    from dlrm_pl.callbacks.mlperf_logging import MLPerfLogging
    from dlrm_pl.callbacks.quantization import QuantizationCallback
    from dlrm_pl.data.loading.datamodule import TerabyteDataModule
    from dlrm_pl.data.preprocessing.run import preprocess
    from dlrm_pl.data.synthetic.synthesize import synthesize
    from dlrm_pl.errors import DLRMError
    from dlrm_pl.metrics.auroc import ExactAUROC
    from dlrm_pl.metrics.calibration import ClickCalibration
    from dlrm_pl.metrics.paired import paired_auroc_difference
    from dlrm_pl.model.architecture import Architecture
    from dlrm_pl.model.dlrm import DLRM
    from dlrm_pl.model.training.lightning_module import DLRMModule
    from dlrm_pl.quantization.judging.criterion import Criterion
    from dlrm_pl.quantization.recipe import RecipeStart
    from dlrm_pl.quantization.search.tune import TuningSettings, tune
    from dlrm_pl.serving.predictor import Predictor
    from dlrm_pl.trainer import DLRMTrainer

_HOMES = {
    "Architecture": "model.architecture",
    "ClickBatch": "batch",
    "ClickCalibration": "metrics.calibration",
    "Criterion": "quantization.judging.criterion",
    "DLRM": "model.dlrm",
    "DLRMError": "errors",
    "DLRMModule": "model.training.lightning_module",
    "DLRMTrainer": "trainer",
    "ExactAUROC": "metrics.auroc",
    "MLPerfLogging": "callbacks.mlperf_logging",
    "Predictor": "serving.predictor",
    "QuantizationCallback": "callbacks.quantization",
    "RecipeStart": "quantization.recipe",
    "TerabyteDataModule": "data.loading.datamodule",
    "TuningSettings": "quantization.search.tune",
    "build_artifact": "artifact.build",
    "load_artifact": "artifact.store",
    "paired_auroc_difference": "metrics.paired",
    "preprocess": "data.preprocessing.run",
    "synthesize": "data.synthetic.synthesize",
    "tune": "quantization.search.tune",
}

__all__ = [
    "DLRM",
    "Architecture",
    "ClickBatch",
    "ClickCalibration",
    "Criterion",
    "DLRMError",
    "DLRMModule",
    "DLRMTrainer",
    "ExactAUROC",
    "MLPerfLogging",
    "Predictor",
    "QuantizationCallback",
    "RecipeStart",
    "TerabyteDataModule",
    "TuningSettings",
    "build_artifact",
    "load_artifact",
    "paired_auroc_difference",
    "preprocess",
    "synthesize",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return __all__
