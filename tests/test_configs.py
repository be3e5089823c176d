"""Every YAML of the repository starts with the command that runs it, and parses; unknown keys fail."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from dlrm_pl.cli import main as cli
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM

pytestmark = pytest.mark.untraced

CONFIGS = Path(__file__).parents[1] / "configs"
# Files of columns are not settings of a run: tests/columns/ reads them.
FILES = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "columns")
GROUPS = {
    "data": ["--data"],
    "model": ["--model"],
    "trainer": ["--trainer"],
    "quantization": ["-c"],
    "experiment": ["-c"],
}


# The output of print_config().
_PRINTED: dict[tuple[str, ...], str] = {}


def print_config(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, dict[str, object]]:
    command = tuple(map(str, args))
    if command not in _PRINTED:
        with pytest.raises(SystemExit) as stop:
            cli.main([*command, "--print_config"])
        captured = capsys.readouterr()
        assert stop.value.code == 0, captured.err
        _PRINTED[command] = captured.out
    return yaml.safe_load(_PRINTED[command])  # type: ignore[no-any-return]


def arguments(path: Path) -> list[str]:
    """Return a complete run that includes this file, with a data file if the model alone would be incomplete."""
    group = path.parent.name
    base = [] if group == "experiment" else ["-c", str(CONFIGS / "experiment" / "quickstart.yaml")]
    return ["fit", *base, *GROUPS[group], str(path)]


def test_there_are_configs() -> None:
    assert len(FILES) >= 10
    assert {path.parent.name for path in FILES} == set(GROUPS)


def named(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_config_starts_with_its_command(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# python cli.py "), first
    for name in re.findall(r"configs/\S+\.yaml", first):
        assert (CONFIGS.parent / name).is_file(), name


# An experiment names the files that it consists of, and is parsed with them.
PARTS = {
    (path.parent / str(value)).resolve()
    for path in FILES
    if path.parent.name == "experiment"
    for value in yaml.safe_load(path.read_text()).values()
}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.resolve() in PARTS else ()) for path in FILES],
    ids=named,
)
def test_config_parses(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = print_config(capsys, *arguments(path))
    assert {"model", "data", "trainer"} <= set(config)


def test_appended_callbacks_join_those_of_the_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    experiment, int8 = CONFIGS / "experiment" / "kaggle.yaml", CONFIGS / "quantization" / "int8.yaml"
    config = print_config(capsys, "fit", "-c", experiment, "-c", int8)
    callbacks = [callback["class_path"].rsplit(".", 1)[1] for callback in config["trainer"]["callbacks"]]  # type: ignore[attr-defined]
    assert callbacks == ["RichProgressBar", "ModelCheckpoint", "QuantizationCallback"]


def test_terabyte_run_has_every_value_of_the_reference_run(capsys: pytest.CaptureFixture[str]) -> None:
    config = print_config(capsys, "fit", "-c", CONFIGS / "experiment" / "terabyte.yaml")
    model, data, trainer = config["model"], config["data"], config["trainer"]
    assert model["embedding_dim"] == 128
    assert model["bottom_mlp"] == [0, 512, 256, 128]  # The first is the number of dense columns.
    assert model["top_mlp"] == [1024, 1024, 512, 256, 1]
    assert (model["interaction"], model["loss"], model["optimizer"]) == ("dot", "bce", "sgd")
    assert model["learning_rate"] == 1.0
    assert data["max_ind_range"] == 40_000_000
    assert (data["batch_size"], data["eval_batch_size"], data["shuffle"]) == (2048, 16384, "batch")
    assert trainer["val_check_interval"] == 102_400
    assert trainer["max_epochs"] == 1
    callbacks = {c["class_path"].rsplit(".", 1)[1]: c["init_args"] for c in trainer["callbacks"]}  # type: ignore[attr-defined]
    assert callbacks["EarlyStopping"]["monitor"] == "val_auroc"
    assert callbacks["EarlyStopping"]["stopping_threshold"] == 0.8025
    assert callbacks["MLPerfLogging"]["auroc_threshold"] == 0.8025


def test_mlperf_v2_run_has_every_value_of_the_reference_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line and its notes in mlcommons/training, recommendation_v2/torchrec_dlrm/README.MD."""
    config = print_config(capsys, "fit", "-c", CONFIGS / "experiment" / "mlperf_v2.yaml")
    model, data, trainer = config["model"], config["data"], config["trainer"]
    assert model["embedding_dim"] == 128
    assert model["bottom_mlp"] == [0, 512, 256, 128]  # The first is the number of dense columns.
    assert model["top_mlp"] == [1024, 1024, 512, 256, 1]
    assert (model["interaction"], model["cross_layers"], model["cross_rank"]) == ("dcn", 3, 512)
    assert (model["loss"], model["optimizer"], model["learning_rate"], model["epsilon"]) == (
        *("bce", "adagrad", 0.005, 1e-8),
    )
    assert [model[f"dense_{name}"] for name in ("optimizer", "learning_rate", "epsilon")] == [None] * 3  # The same.
    assert [model[f"lr_{name}"] for name in ("num_warmup_steps", "num_decay_steps")] == [0, 0]
    assert (data["batch_size"], data["shuffle"]) == (65_536, "none")
    assert data["table_sizes"] == [
        *(40_000_000, 39_060, 17_295, 7_424, 20_265, 3, 7_122, 1_543, 63, 40_000_000, 3_067_956, 405_282, 10, 2_209),
        *(11_938, 155, 4, 976, 14, 40_000_000, 40_000_000, 40_000_000, 590_152, 12_973, 108, 36),
    ]
    assert data["multi_hot_sizes"] == [
        *(3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1),
    ]
    assert data["multi_hot_distribution"] == "uniform"
    assert (trainer["max_epochs"], trainer["val_check_interval"]) == (1, 0.05)
    callbacks = {c["class_path"].rsplit(".", 1)[1]: c["init_args"] for c in trainer["callbacks"]}  # type: ignore[attr-defined]
    assert callbacks["EarlyStopping"]["monitor"] == "val_auroc"
    assert callbacks["EarlyStopping"]["stopping_threshold"] == 0.80275
    assert callbacks["MLPerfLogging"]["auroc_threshold"] == 0.80275


def test_mlperf_v2_model_has_the_reference_models_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    config = print_config(capsys, "fit", "-c", CONFIGS / "experiment" / "mlperf_v2.yaml")
    stated = {field.name for field in dataclasses.fields(Architecture)}
    shape = {name: value for name, value in config["model"].items() if name in stated and name != "table_sizes"}
    shape["bottom_mlp"][0] = 13  # type: ignore[index]
    architecture = Architecture(config["data"]["table_sizes"], **shape)  # type: ignore[arg-type]
    with torch.device("meta"):
        model = DLRM(architecture)
    assert (sum(architecture.table_sizes), architecture.interaction_width) == (204_184_588, 27 * 128)
    bottom = 13 * 512 + 512 + 512 * 256 + 256 + 256 * 128 + 128
    cross = 3 * (2 * 3456 * 512 + 3456)
    top = 3456 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 256 + 256 + 256 + 1
    assert sum(parameter.numel() for parameter in model.parameters()) == 204_184_588 * 128 + bottom + cross + top


@pytest.mark.parametrize("name", ["quickstart", "kaggle", "terabyte", "mlperf_v2"])
def test_runs_of_an_experiment_have_logs_of_their_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With a fixed version, Lightning's CSVLogger deletes the log of an earlier run, or of `fit` before `test`."""
    config = print_config(capsys, "fit", "-c", CONFIGS / "experiment" / f"{name}.yaml")
    assert config["trainer"]["logger"]["init_args"]["version"] is None  # type: ignore[index]


def test_settings_of_the_lpot_example_are_those_of_its_conf_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    path = CONFIGS / "quantization" / "lpot_example.yaml"
    config = print_config(capsys, "fit", "-c", CONFIGS / "experiment" / "terabyte.yaml", "-c", path)
    settings = config["trainer"]["callbacks"][-1]["init_args"]  # type: ignore[index]
    assert settings["criterion"]["relative"] == 0.01
    assert settings["timeout_s"] == 0
    assert settings["seed"] == 9527
    assert (settings["recipe"]["linears"], settings["recipe"]["tables"]) == ("int8", "fp32")


def of_callback(init_args: str) -> str:
    """Return YAML that appends a quantization with these arguments."""
    class_path = "dlrm_pl.callbacks.quantization.QuantizationCallback"
    return f"trainer: {{callbacks+: [{{class_path: {class_path}, init_args: {init_args}}}]}}"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("modle: 3", "modle"),
        ("model: {embeding_dim: 3}", "embeding_dim"),
        ("data: {bach_size: 3}", "bach_size"),
        ("trainer: {max_epoch: 3}", "max_epoch"),
        (of_callback("{max_trial: 3}"), "max_trial"),
        (of_callback("{criterion: {relativ: 0.1}}"), "relativ"),
        (of_callback("{recipe: {table: int8}}"), "table"),
    ],
)
def test_unknown_key_is_named_in_one_line(
    tmp_path: Path, text: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(tmp_path, text, capsys)
    option = "--trainer.callbacks.help dlrm_pl.callbacks.quantization.QuantizationCallback"
    option = option if "QuantizationCallback" in text else "--help"
    assert re.search(rf"\b{word}\b.*`python cli.py fit {option}` explains every option", error)


@pytest.mark.parametrize(
    ("init_args", "reason"),
    [
        ("{stop_at: never}", "QuantizationCallback.stop_at: 'never' is not one of first, budget."),
        ("{objective: speed}", "QuantizationCallback.objective: 'speed' is not one of size, latency."),
        ("{metric: {class_path: torchmetrics.Wrong}}", "trainer.callbacks: there is no class torchmetrics.Wrong."),
        (
            "{eval_func: {class_path: no_such.Score}}",
            "eval_func: needs a function or a callable class: No module named 'no_such'.",
        ),
    ],
)
def test_value_that_is_none_of_several_kinds_is_named_with_what_there_is(
    tmp_path: Path, init_args: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(tmp_path, of_callback(init_args), capsys)
    assert reason in error
    assert "Subtypes" not in error
    assert "NoneType" not in error


def refusal(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the single line with which a configuration is refused."""
    path = folder / "wrong.yaml"
    path.write_text(text)
    assert cli.main(["fit", "-c", str(CONFIGS / "experiment" / "quickstart.yaml"), "-c", str(path)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    return error


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("rows", "label_rate"), [(10_000, 0.033), (60_000, 0.25)])
def test_small_log_trains_and_certifies_a_log_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, label_rate: float
) -> None:
    monkeypatch.chdir(tmp_path)
    small_log = str(CONFIGS / "experiment" / "small_log.yaml")
    options = ["--rows", str(rows), "--label_rate", str(label_rate), "--days", "3"]
    assert cli.main(["synthesize", "--output", "datasets/small_log", *options]) == 0
    # 4: undecided, because there are too few clicks.
    assert cli.main(["fit", "-c", small_log]) in ((0,) if rows == 60_000 else (0, 3, 4))
    certificate = json.loads((tmp_path / "artifacts" / "small_log" / "certificate.json").read_text())
    if rows == 60_000:
        assert certificate["fp32"]["auroc"] > 0.75  # SGD at the reference's rate reaches 0.72.
