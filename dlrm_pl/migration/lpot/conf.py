"""Translate LPOT's conf.yaml into search settings; the file itself is never written to.

Keys mean what they mean in LPOT 1.6, whose defaults apply to missing keys: 1 % relative drop, the first accepted model,
at most 100 trials, seed 1978, strategy ``basic``. A key that requests an unsupported feature is refused with a reason,
and a key without a meaning here is ignored, with a note. Guards, confidence and blocks, which LPOT does not have, stay
as they were set.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmetrics import Metric

from dlrm_pl.documents.yaml_text import read_yaml
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.lpot.metrics import metric_of
from dlrm_pl.migration.lpot.ops import read_model_wise, read_op_wise
from dlrm_pl.migration.lpot.section import Section, parts_of
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.search.settings import TuningSettings

_TAGS = ("!Pruner",)
"""YAML tags of LPOT; the settings that they mark are read as plain mappings."""
_REFUSED = {
    "pruning": "pruning is not supported, only quantization. Remove the section.",
    "distillation": "distillation is not supported. Remove the section.",
    "graph_optimization": "there is no graph to rewrite. Remove the section.",
    "mixed_precision": "write quantization.model_wise.weight.dtype: [bf16, fp32] instead, which means the same.",
}
_FRAMEWORKS: dict[str, str | None] = {
    "pytorch": None,
    "pytorch_fx": None,
    "pytorch_ipex": None,
    **dict.fromkeys(
        ("tensorflow", "tensorflow_itex", "mxnet", "onnxrt_integerops", "onnxrt_qlinearops", "engine"),
        "the model is a PyTorch DLRM; write pytorch.",
    ),
}
_DEVICES: dict[str, str | None] = {
    "cpu": None,
    "gpu": "int8 models only run on CPUs; write cpu.",
}
_APPROACHES: dict[str, str | None] = {
    "post_training_static_quant": None,
    "post_training_dynamic_quant": "activation ranges are calibrated, which costs nothing during serving; write "
    "post_training_static_quant.",
    "quant_aware_training": "models are quantized after training, without retraining; write "
    "post_training_static_quant.",
}
_OBJECTIVES: dict[str, str | None] = dict.fromkeys(("performance", "footprint", "modelsize"))
_CLOSED = "SigOpt is a service that needs an account; choose another strategy, for example bayesian or tpe."


@dataclass(frozen=True)
class LpotConf:
    """Settings requested by a conf.yaml.

    Attributes:
        name: name of the model, for log lines.
        tuning: values for fields of ``TuningSettings``.
        criterion: values for fields of ``Criterion``.
        recipe: values for fields of ``RecipeStart``.
        space: values for fields of ``SpaceSettings``.
        metric: metric that scores trials; None for AUROC.
        calibration_rows: number of calibration rows; None if the file does not state it.
        output: folder of the artifact; None if the file does not state it.
        tensorboard: whether the file requests scalars of the search.
        notes: settings that are ignored or mean something else here, one line each.
    """

    name: str
    tuning: dict[str, Any]
    criterion: dict[str, Any]
    recipe: dict[str, Any]
    space: dict[str, Any]
    metric: Metric | None
    calibration_rows: int | None
    output: Path | None
    tensorboard: bool
    notes: tuple[str, ...]

    def applied_to(self, settings: TuningSettings) -> TuningSettings:
        """Return the settings updated with the values of the file.

        Raises:
            ConfigurationError: the strategy is unknown.
        """
        ops = settings.space.ops | self.space.get("ops", {})
        return dataclasses.replace(
            settings,
            **self.tuning,
            criterion=dataclasses.replace(settings.criterion, **self.criterion),
            recipe=dataclasses.replace(settings.recipe, **self.recipe),
            space=dataclasses.replace(settings.space, **(self.space | {"ops": ops})),
        )


def read_lpot_conf(path: Path, architecture: Architecture) -> LpotConf:
    """Read a conf.yaml.

    Raises:
        ConfigurationError: the file cannot be read, or has a key or value that ``translate`` refuses.
    """
    values = read_yaml(path, ConfigurationError, "Give a conf.yaml of LPOT.", tags=_TAGS)
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: has no `model` or `tuning` section. Is this an LPOT conf.yaml?")
    return translate(values, str(path), architecture)


def translate(values: dict[str, Any], file: str, architecture: Architecture) -> LpotConf:
    """Translate the contents of a conf.yaml.

    Args:
        values: contents of the file.
        file: name of the file, for messages.
        architecture: shape of the model, whose ops ``op_wise`` may name.

    Raises:
        ConfigurationError: a key or value is unknown (the message names the closest one) or unsupported.
    """
    conf = Section(file, "", values)
    conf.check(
        ("model", "device", "quantization", "tuning", "evaluation"),
        ignored={"version": "it is the version of LPOT's file format"},
        refused=_REFUSED,
    )
    model = conf.section("model")
    graph = "a DLRM has one input and one output"
    model.check(("name", "framework"), ignored={"inputs": graph, "outputs": graph})
    for key in ("name", "framework"):
        if key not in model.values:
            raise ConfigurationError(f"{model.at(key)}: missing key, which LPOT requires as well.")
    if model.choice("framework", _FRAMEWORKS) == "pytorch_ipex":
        model.note("framework", "pytorch_ipex: the kernels of this package run, not those of IPEX")
    conf.choice("device", _DEVICES, "cpu")
    recipe, space, rows = _quantization(conf.section("quantization"), architecture)
    tuning, criterion, output, tensorboard = _tuning(conf.section("tuning"))
    metric = _evaluation(conf.section("evaluation"))
    return LpotConf(
        name=str(model.values["name"]),
        tuning=tuning,
        criterion=criterion,
        recipe=recipe,
        space=space,
        metric=metric,
        calibration_rows=rows,
        output=output,
        tensorboard=tensorboard,
        notes=tuple(conf.notes),
    )


def _quantization(section: Section, architecture: Architecture) -> tuple[dict[str, Any], dict[str, Any], int | None]:
    """Read values for the recipe and for the space, and the number of calibration rows."""
    section.check(
        ("approach", "calibration", "recipes", "model_wise", "op_wise"),
        ignored={"advance": "biases are always corrected"},
        refused={"train": "models are quantized after training. Remove the section."},
    )
    section.choice("approach", _APPROACHES, "post_training_static_quant")
    calibration = section.section("calibration")
    calibration.check(("sampling_size",), ignored={"dataloader": "the first rows of val calibrate, see `data.folder`"})
    recipes = section.section("recipes")
    convolutions = "a DLRM has no convolutions and no pooling layers"
    recipes.check(
        ("first_conv_or_matmul_quantization",),
        ignored={"scale_propagation_max_pooling": convolutions, "scale_propagation_concat": convolutions},
    )
    space, recipe = read_model_wise(section.section("model_wise"))
    ops: dict[str, list[str]] = {}
    if not recipes.flag("first_conv_or_matmul_quantization", True):
        ops["bottom_mlp.0"] = ["bf16", "fp32"]
    ops |= read_op_wise(section.section("op_wise"), architecture)
    if ops:
        space["ops"] = ops
    return recipe, space, _sampling_size(calibration)


def _sampling_size(section: Section) -> int | None:
    """Read a number of rows; the largest of several, since min-max ranges only grow with more rows."""
    value = section.values.get("sampling_size")
    if value is None:
        return None
    parts = parts_of(value)
    try:
        sizes = [int(str(part)) for part in parts if not isinstance(part, bool)]
    except ValueError:
        sizes = []
    if len(sizes) != len(parts) or not sizes or min(sizes) < 1:
        raise section.wrong("sampling_size", "a row count or a list such as [100, 1000]")
    largest = max(sizes)
    if len(sizes) > 1:
        section.note(
            "sampling_size", f"LPOT tries them one after the other; here only the largest is used, {largest:,} rows"
        )
    return largest


def _tuning(section: Section) -> tuple[dict[str, Any], dict[str, Any], Path | None, bool]:
    """Read values for the settings and the criterion, the artifact folder, and whether scalars are requested."""
    section.check(
        (
            "strategy",
            "accuracy_criterion",
            "objective",
            "exit_policy",
            "random_seed",
            "tensorboard",
            "workspace",
        ),
        ignored={"diagnosis": "report.html shows the drops by op"},
        refused={"multi_objectives": "write `objective` here, or weights of both in the QuantizationCallback."},
    )
    strategy = section.section("strategy")
    service = {f"sigopt_{name}": _CLOSED for name in ("api_token", "project_id", "experiment_name")}
    weights = "only accepted models are compared, by the objective"
    strategy.check(("name",), ignored=service | {"accuracy_weight": weights, "latency_weight": weights})
    name = strategy.values.get("name", "basic")
    if name == "sigopt":
        raise ConfigurationError(f"{strategy.at('name')}: 'sigopt': {_CLOSED}")
    if not isinstance(name, str):
        raise strategy.wrong("name", "the name of a strategy")
    policy = section.section("exit_policy")
    policy.check(("timeout", "max_trials", "performance_only"))
    changes: dict[str, Any] = {
        "strategy": name,
        "timeout_s": float(policy.number("timeout", 0.0)),
        "max_trials": policy.whole("max_trials", 100, smallest=1),
        "stop_at": None,
        "seed": section.whole("random_seed", 1978),
    }
    if policy.flag("performance_only", False):
        policy.note("performance_only", "one trial is made, and it is scored, since every artifact is certified")
        changes["max_trials"] = 1
    objective = section.choice("objective", _OBJECTIVES)
    if objective is not None:
        changes["objective"] = "latency" if objective == "performance" else "size"
    if objective == "footprint":
        section.note("objective", "footprint: minimizes the bytes of weights and tables")
    output = _workspace(section.section("workspace"))
    tensorboard = section.flag("tensorboard", False)
    if tensorboard:
        section.note(
            "tensorboard", "the numbers of each trial go to the Trainer's loggers; histograms of tensors are not made"
        )
    return changes, _criterion(section.section("accuracy_criterion")), output, tensorboard


def _criterion(section: Section) -> dict[str, Any]:
    """Read values for the criterion."""
    section.check(("relative", "absolute", "higher_is_better"))
    given = [key for key in ("relative", "absolute") if key in section.values]
    if len(given) == 2:
        raise ConfigurationError(
            f"{section.at('relative')}: {section.values['relative']} and absolute {section.values['absolute']} are "
            "mutually exclusive, as in LPOT. Remove one of them."
        )
    changes: dict[str, Any] = {"relative": 0.01, "absolute": None}
    if given:
        share = section.share(given[0])
        if given == ["relative"] and share >= 1:
            raise section.wrong("relative", "a share below 1 such as 0.01, or a percentage such as '1%'")
        changes = {"relative": None, "absolute": None, given[0]: share}
    if "higher_is_better" in section.values:
        # If missing, it is left unchanged: LPOT's default equals the criterion's, and an eval_func may be a loss.
        changes["higher_is_better"] = section.flag("higher_is_better", True)
    return changes


def _workspace(section: Section) -> Path | None:
    """Read the artifact folder, a subfolder of LPOT's workspace, so that other files there are left alone."""
    section.check(
        ("path",),
        ignored={"resume": "a search is always resumed from its own log; LPOT's snapshot, a pickle, is not read"},
    )
    path = section.values.get("path")
    if path is None:
        return None
    if not isinstance(path, str) or not path:
        raise section.wrong("path", "a folder")
    output = Path(path) / "int8"
    section.note("path", f"the artifact is written to {output}")
    return output


def _evaluation(section: Section) -> Metric | None:
    """Read the metric that scores trials; speed is measured by a separate command."""
    section.check(("accuracy", "performance"))
    rows = "trials read the rows of val after the calibration rows, see `data.folder`"
    accuracy = section.section("accuracy")
    accuracy.check(
        ("metric",),
        ignored={"dataloader": rows, "postprocess": "models return click probabilities"}
        | {"configs": "the number of threads is torch's, see OMP_NUM_THREADS", "iteration": rows},
        refused={"multi_metrics": "trials are scored by one metric, and by guards; give one `metric`."},
    )
    command = "`benchmark` measures speed"
    section.section("performance").check(
        (), ignored=dict.fromkeys(("warmup", "iteration", "configs", "dataloader", "postprocess"), command)
    )
    return metric_of(accuracy)
