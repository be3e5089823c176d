"""Wrong values are refused when an object is made, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from dlrm_pl.callbacks.mlperf_logging import MLPerfLogging
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.callbacks.quantization_aware import QuantizationAwareTraining
from dlrm_pl.callbacks.throughput import ThroughputMonitor
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation, Scores
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.objective import Objective
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SpaceSettings
from dlrm_pl.workflow.config import QuantizationConfig

NAN = float("nan")

WRONG: dict[type, dict[str, list[object]]] = {
    QuantizationCallback: {
        **{"recipe": ["int8", {"linears": "int8"}, None], "criterion": [{"relative": 0.01}, 0.01]},
        **{"strategy": ["nonsense", 3, None], "objective": ["speed", {"size": 1.0}, 1], "space": ["int8", []]},
        **{
            "timeout_s": [-1, NAN, "60"],
            "max_trials": [0, -3, 1.5, "10", True],
            "stop_at": ["forever", 1],
            "until": ["forever"],
        },
        **{"seed": [-1, 2**32, 0.5, "1"], "eval_func": [0.5, "my.Score"], "metric": ["auroc", lambda model: 0.5]},
        **{"allow_nonfinite": ["yes", 1], "output": [None, 3, ""], "overwrite": ["yes", 1]},
        "with_vocabulary": ["yes", 1],
        "refresh": [1, True, "", ["a"]],
    },
    QuantizationAwareTraining: {
        "recipe": ["int8", None],
        "first_step": [-1, 0.5, "1"],
        "observe_every_n_steps": [0, -1, 1.5],
    },
    RecipeStart: {
        **{"linears": ["int4", 8, None], "tables": ["bf16", ["int8"]], "interaction": ["fp16", 8]},
        **{"observer": ["max", None], "activation_scheme": ["asymmetric"], "weight_granularity": ["per_row"]},
        "bias_correction": ["no", 0],
    },
    Recipe: {
        **{"bottom_mlp": [("int4",), "int8", None], "top_mlp": [(8,)], "tables": [("bf16",), ("int8", None)]},
        **{"interaction": ["fp16", None], "observer": ["max"], "activation_scheme": [None]},
        **{"weight_granularity": ["per_row"], "bias_correction": ["no", 0]},
        "cross_net": [("int8",), ("int4", "int8"), "int8", None],
    },
    Criterion: {
        **{"relative": [-0.1, NAN, "1%", float("inf")], "absolute": [-1, "0.1"], "higher_is_better": ["yes"]},
        **{"confidence": [0.5, 1, 95, NAN, "0.95"], "log_loss": [-1, NAN], "calibration_ratio": [-1, "x"]},
        **{"worst_slice": ["C14", {"by": "C14"}], "first_block": [0, 1.5], "max_rows": [0, "all"]},
    },
    WorstSlice: {"by": ["", -1, None, 2.5], "tolerance": [-1, NAN, "1%"], "score": ["loss"], "slices": [1, 2.5]},
    Objective: {"size": [-1, NAN, "1", float("inf")], "latency": [-0.5, NAN, None]},
    SpaceSettings: {
        **{"linears": [(), ("int4",), "int8"], "interaction": [(), ("fp16",)], "tables": [(), ("bf16",), None]},
        **{"ops": [{"top_mlp.0": []}, {"top_mlp.0": "fp32"}, ["top_mlp.0"]], "observers": [(), ("mean",)]},
        **{"activation_schemes": [("both",)], "weight_granularities": [("per_group",)]},
    },
    TuningSettings: {"strategy": ["x"], "objective": ["speed"], "stop_at": ["x"], "max_trials": [0], "seed": [-1]},
    DLRMModule: {
        **{"table_sizes": [[], [0], [3.0], 5, "3", ["3"]], "embedding_dim": [0, -1, 2.0, "2"]},
        **{"bottom_mlp": [[13], [13, 3], 13, "13-2"], "top_mlp": [[], [4], [2.5, 1], "1"]},
        **{"interaction": ["sum", None], "self_interaction": ["yes", 1], "loss": ["ce", None], "optimizer": ["adam"]},
        **{"tables_on": ["gpu", None], "table_format": ["bf16", None]},
        **{"loss_weights": [[1.0], [-1.0, 1.0], [NAN, 1.0], ["1", "2"], 1.0], "loss_threshold": [-0.1, 0.5, NAN]},
        **{"learning_rate": [0, -1, NAN, float("inf"), "0.1", None], "lr_num_warmup_steps": [-1, 1.5, "3"]},
        **{"lr_decay_start_step": [-1, NAN], "lr_num_decay_steps": [-1, 2.5], "dataset_fingerprint": [None, 7]},
        **{"columns": ["criteo", 3, {}, Columns.criteo()], "engine": ["cuda", None, True]},
        **{"dense_optimizer": ["rwsadagrad", "rmsprop", 3], "dense_learning_rate": [0, -1, NAN, "0.1"]},
        **{"epsilon": [-1, NAN, "0"], "dense_epsilon": [-1, NAN, "0"], "dense_weight_decay": [-1, NAN, None]},
        **{"dense_betas": [[0.9], [1.0, 0.9], [-0.1, 0.9], 0.9], "lr_schedule": ["linear", None]},
        **{"lr_decay_power": [0, -1, NAN, "2"], "lr_end_factor": [-0.1, 1.5, NAN, None]},
        **{"weighted_pooling": ["other", 3], "cross_layers": [-1, 1, 2.5, "3"], "cross_rank": [-1, 1, 2.5, None]},
    },
    DLRMDataModule: {
        **{"batch_size": [0, -1, 2.5, "128", None], "eval_batch_size": [0, True], "shuffle": ["rows", True, None]},
        **{"seed": [-1, 0.5, "1"], "num_workers": [-1, 1.5], "max_ind_range": [-2, 1.5], "calibration_rows": [0, 0.1]},
        **{"predict_split": ["all", 1], "predict_raw": [3], "folder": [None, 3]},
        **{"table_sizes": [[0], [2.5], "3", 3], "multi_hot_sizes": [[0], [1.5], "3", 3]},
        **{"multi_hot_distribution": ["normal", 1]},
        **{"predict_truncate_lists": ["yes", 1], "predict_keep": [3, [1], {"C1": True}]},
    },
    QuantizationConfig: {"output": ["", None, 3], "tuning": [{}], "metric": ["auroc"], "calibration_rows": ["1"]},
    AUROCEvaluation: {"batches": ["z", 3, None], "metric": ["auroc", MetricCollection]},
    MLPerfLogging: {
        **{"path": ["", None], "auroc_threshold": [0, 1, 80.25, NAN, "0.8"], "org": ["", None], "platform": ["", 3]},
        "division": ["Closed", "", None],
    },
    ThroughputMonitor: {"every_s": [-1, NAN, "30", None]},
}
NEEDED: dict[type, dict[str, Any]] = {
    DLRMModule: {"table_sizes": [3, 4], "embedding_dim": 2, "bottom_mlp": [13, 2], "top_mlp": [1]},
    WorstSlice: {"by": "C14"},
    AUROCEvaluation: {"batches": []},
    Recipe: {"bottom_mlp": ("int8",), "top_mlp": ("int8",), "tables": ("int8",)},
}


def needed(kind: type, folder: Path) -> dict[str, Any]:
    return {"folder": str(folder)} if kind is DLRMDataModule else NEEDED.get(kind, {})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, fields in WRONG.items() for name, values in fields.items() for value in values],
)
def test_a_wrong_value_is_refused_by_name(kind: type, name: str, value: object, synthetic_folder: Path) -> None:
    made = needed(kind, synthetic_folder) | {name: value}
    words = {"lr_decay_start_step": "decay_start_step", "lr_num_decay_steps": "decay_steps"} | {
        **{"lr_num_warmup_steps": "warmup_steps", "by": "by|column", "ops": "ops|top_mlp"}
    }
    with pytest.raises(ConfigurationError, match=words.get(name, name)):
        kind(**made)


@pytest.mark.parametrize("kind", WRONG)
def test_every_possible_argument_is_tried(kind: type, synthetic_folder: Path) -> None:
    made = kind(**needed(kind, synthetic_folder))
    names = set(kind.__init__.__annotations__) - {"return"}  # type: ignore[misc]
    assert made is not None
    assert kind in (TuningSettings, QuantizationConfig) or set(WRONG[kind]) == names


def test_the_message_says_what_it_must_be() -> None:
    with pytest.raises(ConfigurationError, match=r"^recipe='int8' must be a RecipeStart\.$"):
        QuantizationCallback(recipe="int8")  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"^objective='speed' must be an Objective or one of 'size', 'latency'"
    ):
        QuantizationCallback(objective="speed")  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"^table_sizes=\['3'\] must be a list of which each item is a whole number\.$"
    ):
        DLRMModule(table_sizes=["3"])  # type: ignore[list-item]


def test_stop_at_is_still_read_by_its_earlier_name(caplog: pytest.LogCaptureFixture) -> None:
    assert QuantizationCallback(until="budget").config.tuning.stop_at == "budget"
    assert "until is now called stop_at" in caplog.text
    caplog.clear()
    assert QuantizationCallback(stop_at="first").config.tuning.stop_at == "first"
    assert caplog.text == ""


def test_an_output_is_text_or_a_path(tmp_path: Path) -> None:
    assert QuantizationConfig(output="a").output == Path("a")  # type: ignore[arg-type]
    assert QuantizationCallback(tmp_path).config.output == tmp_path


@pytest.mark.parametrize("kind", [np.array, torch.tensor, tuple])
def test_a_module_takes_arrays_tensors_and_tuples(kind: Any) -> None:
    module = DLRMModule(kind([3, 4]), 2, kind([13, 2]), kind([1]), loss_weights=kind([1.0, 2.0]))
    hyperparameters = {name: module.hparams[name] for name in ("table_sizes", "bottom_mlp", "top_mlp", "loss_weights")}
    assert repr(hyperparameters) == (
        "{'table_sizes': [3, 4], 'bottom_mlp': [13, 2], 'top_mlp': [1], 'loss_weights': [1.0, 2.0]}"
    )


def test_representations_fit_in_a_line() -> None:
    shown = [
        QuantizationCallback("a"),
        QuantizationAwareTraining(),
        AUROCEvaluation([]),
        TuningListener(),
        Scores(0.5, 1.0, np.zeros(9999, np.float32), np.zeros(9999, np.uint8)),
        MLPerfLogging("mlperf.log"),
        ThroughputMonitor(),
    ]
    for value in shown:
        assert repr(value).startswith(type(value).__name__ + "(")
        assert len(repr(value)) < 90
        assert " at 0x" not in repr(value)
