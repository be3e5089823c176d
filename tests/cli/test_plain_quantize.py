"""`quantize` without a Trainer gives the same result as with one, and leaves what it does not know to the latter."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlrm_pl import synthesize
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.cli import plain_quantize
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.workflow.config import QuantizationConfig
from tests.support.commands import caplog_of, expect_error, run

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]

Options = dict[str, Any]


class Called:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *given: object) -> object:
        self.calls += 1
        return self.function(*given)


def refuse(args: list[str]) -> None:
    """Refuse everything, so that the Trainer takes over."""


def facts(folder: Path) -> dict[str, Any]:
    """Return what an artifact contains apart from times."""
    certificate = json.loads((folder / "certificate.json").read_text())
    for name in ("created", "fp32", "int8"):
        values = certificate.pop(name)
        if isinstance(values, dict):
            values.pop("samples_per_s")
            certificate[name] = values
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    for trial in trials:
        for name in ("seconds", "samples_per_s", "elapsed_s"):
            trial.pop(name, None)
    settings = json.loads((folder / "result.json").read_text())["settings"]
    weights = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    return {"certificate": certificate, "trials": trials, "settings": settings} | weights


_PARSERS: dict[tuple[str, ...], Any] = {}


@pytest.fixture(autouse=True)
def _one_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build the parser once, because that takes longer than most of what the tests do with it."""
    make = plain_quantize._parser

    def parser(hyperparameters: dict[str, Any]) -> object:
        names = tuple(hyperparameters)
        if names not in _PARSERS:
            _PARSERS[names] = make(hyperparameters)
        return _PARSERS[names]

    monkeypatch.setattr(plain_quantize, "_parser", parser)


@pytest.fixture
def command(fitted: Path, tmp_path: Path) -> tuple[object, ...]:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    arguments = {"criterion": {"relative": 0.2, "first_block": 256}, "space": {"observers": ["minmax"]}, "seed": 7}
    config["trainer"]["callbacks"][-1]["init_args"] |= arguments
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return ("quantize", "-c", tmp_path / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")


def test_both_make_the_same_artifact(
    command: tuple[object, ...], fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_quantize, "_quantize", real := Called(plain_quantize._quantize))
    options = ("--max_trials", 2, "--data.calibration_rows", 50, "--with_vocabulary", "--refresh", fitted / "artifact")
    assert run(*command, *options, "--output", tmp_path / "plain") == 0
    assert real.calls == 1
    monkeypatch.setattr("dlrm_pl.cli.plain_quantize.plain_quantize", refuse)
    assert run(*command, *options, "--output", tmp_path / "trainer") == 0
    assert real.calls == 1
    assert facts(tmp_path / "plain") == facts(tmp_path / "trainer")
    assert facts(tmp_path / "plain.delta").keys() == facts(tmp_path / "trainer.delta").keys()


def test_parts_of_a_configuration_may_be_other_files(
    command: tuple[object, ...], fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser adds each part's file name to its values, although it is not a setting."""
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    for part in ("data", "trainer"):
        (tmp_path / f"{part}.yaml").write_text(yaml.safe_dump(config[part]))
        config[part] = f"{part}.yaml"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(plain_quantize, "_quantize", real := Called(plain_quantize._quantize))
    assert run(*command, "--output", tmp_path / "out", "--refresh", fitted / "artifact") == 0
    assert real.calls == 1


def with_callbacks(*callbacks: Options) -> Options:
    return {"trainer": {"callbacks": list(callbacks)}}


QUANTIZATION = "dlrm_pl.QuantizationCallback"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trainer": {"max_epochs": 3, "precision": "bf16-mixed", "limit_val_batches": 0.5, "val_check_interval": 10}},
        {"trainer": {"logger": {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "a"}}}},
        {
            "trainer": {
                "enable_progress_bar": True,
                "callbacks": [
                    {"class_path": QUANTIZATION},
                    {"class_path": "pytorch_lightning.callbacks.RichProgressBar"},
                ],
            }
        },
        {"force": False, "weights_only": True, "seed_everything": True},
    ],
)
def test_what_changes_nothing_needs_no_trainer(
    command: tuple[object, ...], tmp_path: Path, changes: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reached(command, tmp_path, changes, monkeypatch) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"learning_rate": 0.25}},
        {"model": {"embedding_dim": 16}},
        {"model": {"no_such": 1}},
        {"model": {"table_sizes": [3]}},
        {"data": {"batch_size": "many"}},
        {"data": {"no_such": 1}},
        {"force": True},
        {"until": "first"},
        {"lpot_conf": "conf.yaml"},
        {"max_trials": 0},
        {"relative": "little"},
        {"trainer": {"no_such": 1}},
        {"trainer": {"accelerator": "gpu"}},
        {"trainer": {"devices": 2}},
        {"trainer": {"strategy": "ddp"}},
        {"trainer": {"deterministic": True}},
        {"trainer": {"max_epochs": -2}},
        {"trainer": {"max_steps": None}},
        {"trainer": {"limit_val_batches": 1.5}},
        {"trainer": {"enable_progress_bar": 1}},
        {"trainer": {"logger": {"class_path": "pytorch_lightning.loggers.TensorBoardLogger"}}},
        {"trainer": {"logger": True}},
        with_callbacks({"class_path": "pytorch_lightning.callbacks.EarlyStopping", "init_args": {"monitor": "x"}}),
        with_callbacks({"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": {"monitor": "x"}}),
        with_callbacks({"class_path": "pytorch_lightning.callbacks.RichProgressBar", "init_args": {"leave": True}}),
        with_callbacks({"class_path": QUANTIZATION, "init_args": {"until": "first"}}),
        with_callbacks({"class_path": QUANTIZATION, "init_args": {"metric": {"class_path": "torchmetrics.AUROC"}}}),
        with_callbacks({"class_path": QUANTIZATION, "init_args": {"no_such": 1}}),
        with_callbacks({"class_path": QUANTIZATION, "init_args": {"max_trials": "many"}}),
        with_callbacks({"class_path": QUANTIZATION, "init_args": {"strategy": "greedy"}}),
        with_callbacks({"class_path": QUANTIZATION, "more": 1}),
        with_callbacks(*[{"class_path": "pytorch_lightning.callbacks.ModelCheckpoint"}] * 2),
        with_callbacks(
            {"class_path": "pytorch_lightning.callbacks.RichProgressBar"}
        ),  # Also enable_progress_bar: false.
        {"model": None},
        {"trainer": None},
        {"trainer": []},
    ],
)
def test_anything_else_is_left_to_the_trainer(
    command: tuple[object, ...], tmp_path: Path, changes: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reached(command, tmp_path, changes, monkeypatch) is None


@pytest.mark.parametrize(
    "more",
    [("--trainer.logger", "true"), ("--print_config",), ("--ckpt_path", "other.ckpt"), ("--no_such", "1"), ("--help",)],
)
def test_options_that_are_not_known_are_left_to_the_trainer(
    command: tuple[object, ...], tmp_path: Path, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reached((*command, *more), tmp_path, {}, monkeypatch) is None


def test_options_of_the_environment_are_left_to_the_trainer(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    assert reached(command, tmp_path, {}, monkeypatch) is None


AGAIN = {"trainer": {"callbacks": [{"class_path": QUANTIZATION, "init_args": {"max_trials": 1}}]}}


@pytest.mark.parametrize(
    ("second", "option"),
    [
        ({"trainer": AGAIN["trainer"]}, ()),
        ({"trainer": {"callbacks+": AGAIN["trainer"]["callbacks"]}}, ()),
        ({"trainer": "part.yaml"}, ()),
        ({"config": "config.yaml", **AGAIN}, None),
        ({}, ("--trainer", "part.yaml")),
        ({}, (f"--trainer={json.dumps(AGAIN['trainer'])}",)),
        ({}, (f"--trainer.callbacks+={json.dumps(AGAIN['trainer']['callbacks'])}",)),
        ({}, ("-c", json.dumps(AGAIN))),
    ],
)
def test_callbacks_that_are_given_twice_are_left_to_the_trainer(
    command: tuple[object, ...],
    tmp_path: Path,
    second: Options,
    option: tuple[str, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For callbacks of the same class, the Trainer's parser keeps the arguments that were given first."""
    (tmp_path / "part.yaml").write_text(yaml.safe_dump(AGAIN["trainer"]))
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(second))
    monkeypatch.chdir(tmp_path)
    first = command[:3] if option is not None else command[:1]
    assert reached((*first, "-c", "second.yaml", *(option or ()), *command[3:]), tmp_path, {}, monkeypatch) is None


def test_files_without_callbacks_may_follow(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "second.yaml").write_text("{trainer: {max_epochs: 3}, max_trials: 4}")
    config = reached((*command, "-c", tmp_path / "second.yaml"), tmp_path, {}, monkeypatch)
    assert config is not None
    assert (config.tuning.max_trials, config.tuning.seed) == (4, 7)


def test_the_last_checkpoint_counts(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *others, name, path = command
    assert reached((*others, name, tmp_path / "config.yaml", name, path), tmp_path, {}, monkeypatch) is not None


@pytest.mark.parametrize("plain", [True, False])
def test_another_dataset_is_refused_in_the_same_words(
    command: tuple[object, ...],
    plain: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    synthesize(str(tmp_path / "other"), rows=3000, max_table_size=40)
    if not plain:
        monkeypatch.setattr("dlrm_pl.cli.plain_quantize.plain_quantize", refuse)
    words = "table 0: the checkpoint has \\d+ rows, the dataset \\d+. Use the dataset that it was trained on, or train"
    with caplog_of("dlrm_pl") as lines:
        options = ("--data.folder", tmp_path / "other", "--output", tmp_path / "out")
        expect_error(capsys, f"error: {command[-1]}: {words}", *command, *options)
    assert len([line for line in lines if "checked" in line]) == 1
    assert not (tmp_path / "out").exists()


def reached(
    command: tuple[object, ...], folder: Path, changes: Options, monkeypatch: pytest.MonkeyPatch
) -> QuantizationConfig | None:
    """Return the configuration that `quantize` would use, or None if it is left to the Trainer."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name, value in changes.items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(plain_quantize, "_quantize", lambda *given: given[-1])
    found: Any = plain_quantize.plain_quantize([str(arg) for arg in command[1:]])
    return found  # type: ignore[no-any-return]


def test_settings_of_the_callback_and_options_are_taken_over(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = reached(command, tmp_path, {}, monkeypatch)
    assert config is not None
    assert (config.tuning.seed, config.tuning.criterion.relative, config.tuning.criterion.first_block) == (7, 0.2, 256)
    last: Options = {"class_path": QUANTIZATION, "init_args": {"seed": 5, "output": "x"}}
    config = reached(command, tmp_path, with_callbacks({"class_path": QUANTIZATION}, last), monkeypatch)
    assert config is not None
    assert (config.tuning.seed, config.output, config.tuning.criterion.relative) == (5, Path("x"), None)
    config = reached((*command, "--overwrite", "--seed=11", "--output", "~/a"), tmp_path, {}, monkeypatch)
    assert config is not None
    assert (config.tuning.seed, config.output, config.overwrite) == (11, Path("~/a").expanduser(), True)


def test_defaults_of_the_callback_are_those_of_the_settings() -> None:
    """They are stated twice: for the parser with the Trainer and for the one without."""
    parameters = dict(inspect.signature(QuantizationCallback).parameters)
    assert parameters.pop("until").default is None
    stated = {
        field.name: field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
        for kind in (TuningSettings, QuantizationConfig)
        for field in fields(kind)
        if field.name not in ("tuning", "calibration_rows")
    }
    assert {name: parameter.default for name, parameter in parameters.items()} == stated | {
        "output": str(stated["output"])
    }
