"""LPOT's conf.yaml keeps its meaning here; what is not supported is refused by name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import MeanAbsoluteError, MeanSquaredError
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.lpot.conf import LpotConf, read_lpot_conf, translate
from dlrm_pl.model.parameter_names import upstream_ops
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from tests.support import tiny
from tests.support.lpot import SEED

MODEL = {"name": "dlrm", "framework": "pytorch"}


def conf(**sections: Any) -> LpotConf:
    return translate({"model": MODEL} | sections, "conf.yaml", tiny.ARCHITECTURE)


def refused(match: str, **sections: Any) -> None:
    with pytest.raises(ConfigurationError, match=match):
        conf(**sections)


def test_seeds_file_works_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(SEED)
    before = path.stat()
    found = read_lpot_conf(path, tiny.ARCHITECTURE)
    settings = found.applied_to(TuningSettings(timeout_s=5.0, max_trials=3, seed=1, stop_at="budget"))
    assert found.name == "dlrm"
    assert found.notes == ()
    assert (settings.criterion.relative, settings.criterion.absolute) == (0.01, None)
    assert (settings.strategy, settings.timeout_s, settings.max_trials, settings.seed) == ("basic", 0.0, 100, 9527)
    assert settings.stops_at_first
    assert (found.calibration_rows, found.output) == (None, None)
    assert path.read_text() == SEED  # As LPOT rewrites it.
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_defaults_are_lpots_and_what_it_does_not_know_stays() -> None:
    own = TuningSettings(criterion=Criterion(absolute=0.5, log_loss=0.1, confidence=0.9), objective="latency")
    settings = conf().applied_to(own)
    assert (settings.criterion.relative, settings.criterion.absolute) == (0.01, None)
    assert (settings.timeout_s, settings.max_trials, settings.seed, settings.strategy) == (0.0, 100, 1978, "basic")
    assert (settings.criterion.log_loss, settings.criterion.confidence) == (0.1, 0.9)
    assert settings.objective == "latency"
    assert settings.recipe == own.recipe
    assert settings.space == own.space


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ({"relative": "1%"}, (0.01, None)),
        ({"relative": "0.5 %"}, (0.005, None)),
        ({"relative": 0.002}, (0.002, None)),
        ({"absolute": 0.003}, (None, 0.003)),
        ({"absolute": "2%"}, (None, 0.02)),
        ({}, (0.01, None)),
    ],
)
def test_tolerances(criterion: dict[str, Any], expected: tuple[float | None, float | None]) -> None:
    settings = conf(tuning={"accuracy_criterion": criterion}).applied_to(TuningSettings())
    assert (settings.criterion.relative, settings.criterion.absolute) == pytest.approx(expected)


@given(st.floats(0.0001, 0.99))
def test_percents_mean_the_number(share: float) -> None:
    plain = conf(tuning={"accuracy_criterion": {"relative": share}}).criterion["relative"]
    percent = conf(tuning={"accuracy_criterion": {"relative": f"{100 * share!r}%"}}).criterion["relative"]
    assert percent == pytest.approx(plain)


def test_whole_file() -> None:
    found = conf(
        version=1.0,
        device="cpu",
        quantization={
            "approach": "post_training_static_quant",
            "calibration": {"sampling_size": [100, 2000], "dataloader": {"batch_size": 4}},
            "model_wise": {
                "weight": {"granularity": "per_channel", "scheme": "sym", "dtype": "int8", "algorithm": "minmax"},
                "activation": {
                    "granularity": "per_tensor",
                    "scheme": ["sym", "asym"],
                    "dtype": ["uint8", "fp32"],
                    "algorithm": ["kl", "minmax"],
                    "bit": 7.0,
                },
            },
        },
        tuning={
            "strategy": {"name": "basic", "accuracy_weight": 1.0},
            "accuracy_criterion": {"absolute": 0.01, "higher_is_better": False},
            "objective": "performance",
            "exit_policy": {"timeout": 60, "max_trials": 7, "performance_only": False},
            "random_seed": 5,
            "tensorboard": True,
            "workspace": {"path": "work", "resume": "work/history.snapshot"},
        },
        evaluation={"accuracy": {"metric": {"topk": 1}}, "performance": {"warmup": 10, "iteration": 100}},
    )
    settings = found.applied_to(TuningSettings())
    assert found.calibration_rows == 2000
    assert found.output == Path("work/int8")
    assert found.tensorboard
    assert (settings.timeout_s, settings.max_trials, settings.seed, settings.objective) == (60.0, 7, 5, "latency")
    assert not settings.criterion.higher_is_better
    assert settings.space.weight_granularities == ("per_channel",)
    assert settings.space.activation_schemes == ("symmetric", "affine")
    assert settings.space.observers == ("kl", "minmax")
    assert settings.space.linears == ("int8",)  # Allowed for both the weight, which is int8 only, and the activation.
    assert settings.space.tables == ("int8",)
    assert settings.recipe == RecipeStart("int8", "int8", None, "kl", "symmetric", "per_channel")
    notes = "\n".join(found.notes)
    for key in (
        *("version: 1.0 is ignored", "sampling_size", "dataloader", "bit: 7.0 is ignored", "accuracy_weight"),
        *("workspace.resume", "work/int8", "accuracy.metric", "performance.warmup", "tensorboard"),
    ):
        assert key in notes, key


def test_ops_by_name_and_pattern() -> None:
    fp32 = {"weight": {"dtype": ["fp32"]}, "activation": {"dtype": ["fp32"]}}
    found = conf(
        quantization={
            "op_wise": {
                "bot_l.2": fp32,
                r"top_l\.[04]": {"weight": {"dtype": ["int8", "bf16"]}, "activation": {"dtype": ["uint8", "bf16"]}},
                "emb_l.*": {"weight": {"dtype": ["uint8", "fp32"]}, "activation": {"dtype": "fp32"}},
                "emb_l.1": {"weight": {"dtype": "bf16"}},
            }
        }
    )
    assert found.space["ops"] == {
        "bottom_mlp.1": ["fp32"],
        "top_mlp.0": ["int8", "bf16"],
        "top_mlp.2": ["int8", "bf16"],
        "tables.0": ["int8", "fp32"],
        "tables.1": ["fp16"],
        "tables.2": ["int8", "fp32"],
    }
    assert any("emb_l.1: this op is called tables.1 here, and can be fp16" in note for note in found.notes)
    settings = found.applied_to(TuningSettings(space=SpaceSettings(ops={"interaction": ["fp32"]})))
    space = SearchSpace(settings.space, tiny.ARCHITECTURE)
    start = space.moved_into(Recipe.starting_from(settings.recipe, tiny.ARCHITECTURE))
    assert start.bottom_mlp == ("int8", "fp32")
    assert start.tables == ("int8", "fp16", "int8")
    assert start.interaction == "fp32"
    assert start.top_mlp == ("int8", "int8", "int8")


def test_names_of_the_model_with_stubs_are_understood() -> None:
    """The example inserts a QuantStub before each MLP, which moves its Linears to odd positions."""
    assert list(upstream_ops(tiny.ARCHITECTURE, stubbed=True))[:5] == [
        *("bot_l.1", "bot_l.3", "top_l.1", "top_l.3", "top_l.5")
    ]
    found = conf(quantization={"op_wise": {"top_l.5": {"weight": {"dtype": "fp32"}}}})
    assert found.space["ops"] == {"top_mlp.2": ["fp32"]}


def test_first_matmul_stays_float() -> None:
    found = conf(quantization={"recipes": {"first_conv_or_matmul_quantization": False}})
    assert found.space["ops"] == {"bottom_mlp.0": ["bf16", "fp32"]}


def test_float_dtypes_alone_leave_the_interaction_float() -> None:
    sides = {"weight": {"dtype": ["fp32", "bf16"]}, "activation": {"dtype": ["fp32", "bf16"]}}
    settings = conf(quantization={"model_wise": sides}).applied_to(TuningSettings())
    assert settings.space.linears == settings.space.interaction == ("bf16", "fp32")
    assert settings.space.tables == ("fp16", "fp32")
    start = Recipe.starting_from(settings.recipe, tiny.ARCHITECTURE)
    assert set(start.ops.values()) == {"bf16", "fp16"}


def test_performance_only_is_one_trial() -> None:
    found = conf(tuning={"exit_policy": {"performance_only": True, "max_trials": 50}})
    assert found.tuning["max_trials"] == 1
    assert "performance_only" in found.notes[0]


@pytest.mark.parametrize("objective", ["modelsize", "footprint"])
def test_small_models_are_asked_for(objective: str) -> None:
    assert conf(tuning={"objective": objective}).tuning["objective"] == "size"


def test_unsupported_settings_are_refused_with_a_reason() -> None:
    refused("approach: 'quant_aware_training': .*after training", quantization={"approach": "quant_aware_training"})
    refused("approach: 'post_training_dynamic_quant'", quantization={"approach": "post_training_dynamic_quant"})
    refused(r"device: 'gpu': .*write cpu", device="gpu")
    refused("framework: 'tensorflow'", model={"name": "dlrm", "framework": "tensorflow"})
    refused("'sigopt': SigOpt is a service", tuning={"strategy": {"name": "sigopt", "sigopt_api_token": "x"}})
    refused("pruning is not supported", pruning={})
    refused("quantization.train: models are quantized after", quantization={"train": {}})
    refused("weight.scheme: 'asym'", quantization={"model_wise": {"weight": {"scheme": ["asym"]}}})
    refused("weight.algorithm: 'kl'", quantization={"model_wise": {"weight": {"algorithm": "kl"}}})
    refused(
        "activation.granularity: 'per_channel'",
        quantization={"model_wise": {"activation": {"granularity": "per_channel"}}},
    )
    refused("multi_objectives: write `objective`", tuning={"multi_objectives": {}})


def test_unknown_keys_and_words_are_refused_with_the_closest() -> None:
    refused(r"conf\.yaml: tunning: unknown key\. Did you mean 'tuning'\?", tunning={})
    refused(r"tuning\.exit_policy\.time_out: .*Did you mean 'timeout'\?", tuning={"exit_policy": {"time_out": 1}})
    refused(
        r"objective: unknown value 'perfomance'; expected .* or .*Did you mean 'performance'\?",
        tuning={"objective": "perfomance"},
    )
    refused(
        r"model_wise\.weight\.dtype: unknown value 'int4'", quantization={"model_wise": {"weight": {"dtype": "int4"}}}
    )
    refused(r"bot_l\.6: matches no op\. Did you mean 'bot_l\.\d'\?", quantization={"op_wise": {"bot_l.6": {}}})
    refused(r"neither an op nor a regular expression", quantization={"op_wise": {"bot_l.(": {}}})
    refused(r"model\.framework: missing key", model={"name": "dlrm"})
    with pytest.raises(ConfigurationError, match="no strategy 'bassic'"):
        conf(tuning={"strategy": {"name": "bassic"}}).applied_to(TuningSettings())


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"accuracy_criterion": {"relative": 0.01, "absolute": 0.01}}, "are mutually exclusive"),
        ({"accuracy_criterion": {"relative": "one"}}, "relative: 'one' must be a number such as 0.01"),
        ({"accuracy_criterion": {"relative": True}}, "relative: True must be"),
        ({"accuracy_criterion": {"relative": 1}}, "relative: 1 must be a share below 1"),
        ({"accuracy_criterion": {"absolute": -0.1}}, "absolute: -0.1 must be a non-negative number"),
        ({"accuracy_criterion": {"higher_is_better": "yes"}}, "must be true or false"),
        ({"exit_policy": {"timeout": -1}}, "timeout: -1 must be a non-negative number"),
        ({"exit_policy": {"timeout": ".inf"}}, "timeout: '.inf' must be a non-negative number"),
        ({"exit_policy": {"max_trials": 0}}, "max_trials: 0 must be 1 or more"),
        ({"random_seed": 1.5}, "random_seed: 1.5 must be a whole number"),
        ({"workspace": {"path": ["a"]}}, r"path: \['a'\] must be a folder"),
        ({"exit_policy": [1]}, r"exit_policy: \[1\] must be a section"),
        ({"strategy": {"name": 3}}, "name: 3 must be the name of a strategy"),
    ],
)
def test_values_of_the_wrong_kind_are_named(tuning: dict[str, Any], message: str) -> None:
    refused(message, tuning=tuning)


@pytest.mark.parametrize(
    ("size", "rows"),
    [
        (100, 100),
        ([300], 300),
        ("100, 500", 500),
        ("50 100 500", 500),
        ("70", 70),
        (" 10,\t20 ", 20),
        ("", None),
        ("1 x", None),
        ("[7]", None),
        ([0], None),
        ([True], None),
        ([], None),
    ],
)
def test_sampling_sizes(size: object, rows: int | None) -> None:
    section = {"calibration": {"sampling_size": size}}
    if rows is None:
        refused("sampling_size: .* must be a row count", quantization=section)
    else:
        assert conf(quantization=section).calibration_rows == rows


def test_dtypes_that_exclude_each_other_are_refused() -> None:
    sides = {"weight": {"dtype": "int8"}, "activation": {"dtype": "fp32"}}
    refused(
        "weights can be int8 and activations fp32, which have no dtype in common", quantization={"model_wise": sides}
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: [", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "line 1 is not UTF-8 text"),
        (b"", "has no `model` or `tuning` section"),
        (b"- 1", "has no `model` or `tuning` section"),
        (b"!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        (b"model: 3", "model: 3 must be a section"),
    ],
)
def test_files_that_are_not_a_conf_yaml_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "conf.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        read_lpot_conf(path, tiny.ARCHITECTURE)


def test_pruner_is_read_as_lpot_does_and_its_section_refused(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    pruner = "!Pruner {prune_type: basic_magnitude, names: [a.weight]}"
    path.write_text(f"model: {{name: dlrm, framework: pytorch}}\npruning:\n  approach: {{pruners: [{pruner}]}}\n")
    with pytest.raises(
        ConfigurationError, match=r"pruning: pruning is not supported, only quantization\. Remove the section"
    ):
        read_lpot_conf(path, tiny.ARCHITECTURE)


def test_several_words_in_one_text_are_a_list() -> None:
    def space(granularity: object) -> object:
        return conf(quantization={"model_wise": {"weight": {"granularity": granularity}}}).recipe

    assert space("per_channel, per_tensor") == space(["per_channel", "per_tensor"])
    assert space("per_tensor per_channel") == space(["per_tensor", "per_channel"])
    refused(
        "granularity: unknown value 'per_row'; expected",
        quantization={"model_wise": {"weight": {"granularity": "per_tensor per_row"}}},
    )


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: cannot be read"):
        read_lpot_conf(tmp_path / "none.yaml", tiny.ARCHITECTURE)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["weight", "dtype", "timeout", "name", "relative", "path", "x"]), inner)
    ),
    max_leaves=8,
)
KEYS = ["quantization", "tuning", "evaluation", "device", "model"]
BELOW = ["model_wise", "op_wise", "calibration", "accuracy_criterion", "exit_policy", "workspace", "strategy", "name"]


@given(VALUES, st.sampled_from(KEYS), st.sampled_from(BELOW))
def test_anything_is_translated_or_refused(value: Any, key: str, below: str) -> None:
    """Nothing in the file causes any other error."""
    for sections in ({key: value}, {key: {below: value}}, {key: MODEL | {below: value}}):
        with suppress(ConfigurationError):
            conf(**sections).applied_to(TuningSettings())


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ({"topk": 1}, BinaryAccuracy),
        ({"Accuracy": {}}, BinaryAccuracy),
        ("F1", BinaryF1Score),
        ({"MAE": {"compare_label": True}}, MeanAbsoluteError),
        ({"MSE": None}, MeanSquaredError),
        ({"RMSE": {}}, MeanSquaredError),
        ({"ROC": {}}, type(None)),
    ],
)
def test_metrics_are_those_of_torchmetrics(metric: object, expected: type) -> None:
    found = conf(evaluation={"accuracy": {"metric": metric}}).metric
    assert type(found) is expected
    if isinstance(found, MeanSquaredError):
        assert found.squared == ("MSE" in str(metric) and "RMSE" not in str(metric))
    assert conf().metric is None


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"mAP": {}}, "'mAP': this metric is for object detection"),
        ({"BLEU": {}}, "'BLEU': this metric is for text.* Supported are Accuracy, topk: 1, F1, MAE, MSE, RMSE and ROC"),
        (
            {"mIOU": {"num_classes": 2}},
            "'mIOU': this metric is for object detection or images.* Supported are Accuracy",
        ),
        ({"Loss": {}}, "'Loss': the log loss is a guard here, `criterion.log_loss`"),
        ({"Acuracy": {}}, r"unknown value 'Acuracy'; expected Accuracy, topk.*Did you mean 'Accuracy'"),
        ({"topk": 5}, "topk: 1"),
        ({"MAE": {}, "MSE": {}}, "one metric"),
        ([], "one metric"),
    ],
)
def test_metrics_that_there_are_not_are_refused(metric: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"evaluation\.accuracy\.metric.*{message}"):
        conf(evaluation={"accuracy": {"metric": metric}})
