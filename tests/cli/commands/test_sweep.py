"""`sweep` as a user runs it."""

from __future__ import annotations

import csv
import gc
import json
import re
import signal
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlrm_pl.cli.arguments.config_files import FOLDER
from dlrm_pl.cli.trainer import sweep_trials
from dlrm_pl.cli.trainer.fit_command import fit_command
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.commands import ROOT, caplog_of, expect_error, run, write_config
from tests.support.processes.forked import forked_command
from tests.support.training import quiet_trainer

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]

# Other tests run the same lines of our code; see pyproject.toml.
untraced = pytest.mark.untraced

RATES: dict[str, Any] = {"model.learning_rate": {"low": 0.01, "high": 1.0, "log": True}}
SHORT = ("--rows_per_trial", 640, "--validations", 4, "--repeats", 0)


@pytest.fixture
def config(tmp_path: Path, synthetic_folder: Path) -> Path:
    """A complete run configuration, with checkpoints and a quantization, which trials leave out."""
    return write_config(tmp_path, synthetic_folder)


@pytest.fixture(autouse=True)
def _without_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the picture, which takes longer than the trials."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("dlrm_pl.sweep.plot.write_plot", lambda *args: None)


def sweep(config: Path, space: Any, *options: object, name: str = "sweep") -> list[object]:
    """Return the command line of a sweep with few rows."""
    stated = config.with_name(f"{name}.space.yaml")
    stated.write_text(yaml.safe_dump({"space": space}))
    return ["sweep", "-c", config, "-c", stated, "--output", config.with_name(name), *SHORT, *options]


def trials_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as handle:
        return list(csv.DictReader(handle))


def untimed(folder: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in trials_of(folder)]


def test_the_best_is_what_fit_trains_with_its_file(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drawn: None
) -> None:
    monkeypatch.chdir(tmp_path)
    space = RATES | {"model.embedding_dim": {"choices": [4, 8]}, "model.top_mlp": {"choices": [[1], [8, 1]]}}
    command = sweep(config, space, "--rows_per_trial", 10**6, "--max_trials", 3, "--repeats", 2, "--json")
    assert run(*command) == 0
    found = json.loads(capsys.readouterr().out)
    folder = tmp_path / "sweep"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("best.yaml", "optuna.journal", "sweep.json", "sweep.png", "trials.csv"),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "sweep", "sweep.space.yaml"}
    assert (folder / "sweep.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    best = max((line for line in trials_of(folder) if line["state"] == "complete"), key=lambda line: line["val_auroc"])
    assert best["rows"] == "8000"
    assert found["best"]["trial"] == int(best["trial"])
    assert len(found["repeats"]["seeds"]) == 2
    section = (ROOT / "docs" / "cli.md").read_text().partition("### `sweep`\n")[2].partition("\n#")[0]
    assert found.keys() == set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
    assert run("fit", "-c", config, "-c", folder / "best.yaml", "--print_config") == 0
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert str(model["learning_rate"]) == best["model.learning_rate"]
    assert model["bottom_mlp"] == [13, 16, int(best["model.embedding_dim"])]
    more = ["--trainer.callbacks", "null", "--trainer.enable_checkpointing", "false", "--trainer.logger", "false"]
    capsys.readouterr()
    assert run("fit", "-c", config, "-c", folder / "best.yaml", *more, "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert f"{metrics['val_auroc']:.6f}" == best["val_auroc"]
    # The saved configuration of that training also works for a sweep.
    assert run("sweep", "-c", tmp_path / "run" / "config.yaml", "--output", "x", "--print_config") == 0


@untraced
def test_the_first_trial_has_the_given_settings(config: Path, tmp_path: Path, synthetic_folder: Path) -> None:
    """Its scores are those of the same training by hand, at each share of its rows."""
    assert run(*sweep(config, RATES, "--max_trials", 1)) == 0
    (line,) = trials_of(tmp_path / "sweep")
    assert (line["model.learning_rate"], line["rows"], line["validations"]) == ("0.5", "640", "4")
    import pytorch_lightning as pl

    pl.seed_everything(1)
    data = DLRMDataModule(synthetic_folder, batch_size=64, eval_batch_size=512)
    widths: dict[str, Any] = {"embedding_dim": 8, "bottom_mlp": [13, 16, 8], "top_mlp": [16, 1]}
    module = DLRMModule(data.table_sizes, **widths, learning_rate=0.5, columns=data.columns)
    trainer = quiet_trainer(max_steps=10, max_epochs=1, limit_train_batches=10, enable_checkpointing=False)
    trainer.fit(module, datamodule=data)
    assert f"{float(trainer.callback_metrics['val_auroc']):.6f}" == line["val_auroc"]


@untraced
@pytest.mark.slow
def test_a_sweep_that_is_killed_and_interrupted_ends_as_if_it_had_not_been(config: Path, tmp_path: Path) -> None:
    command = sweep(config, RATES, "--max_trials", 5, "--sampler", "random", "--rows_per_trial", 2000)
    ended = 0
    for stop, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = forked_command(*command)
        path, until = tmp_path / "sweep" / "trials.csv", time.monotonic() + 200
        while not path.is_file() or len(trials_of(path.parent)) <= ended:
            assert time.monotonic() < until, process.errors()
            assert process.poll() is None, process.errors()
            time.sleep(0.01)
        process.send_signal(stop)
        assert process.wait(timeout=100) == status, process.errors()
        ended = len(trials_of(path.parent))
    assert "Finished trials are kept" in process.errors()
    assert 2 <= ended < 5
    assert run(*command) == 0
    options = ("--max_trials", 5, "--sampler", "random", "--rows_per_trial", 2000)
    assert run(*sweep(config, RATES, *options, name="whole")) == 0
    assert untimed(tmp_path / "sweep") == untimed(tmp_path / "whole")
    before = (tmp_path / "sweep" / "optuna.journal").read_bytes()
    assert run(*command) == 0
    assert (tmp_path / "sweep" / "optuna.journal").read_bytes() == before
    assert run(*command, "--max_trials", 6) == 0
    assert len(trials_of(tmp_path / "sweep")) == 6


def test_an_interrupted_sweep_keeps_its_trials_and_goes_on(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--max_trials", 2, "--sampler", "random")
    real = sweep_trials.DLRMTrainer.fit
    calls = []

    def fit(self: Any, *args: Any, **given: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(self, *args, **given)

    with monkeypatch.context() as patch:
        patch.setattr(sweep_trials.DLRMTrainer, "fit", fit)
        assert run(*sweep(config, RATES, *options)) == 130
    assert "Finished trials are kept" in capsys.readouterr().err
    assert len(trials_of(tmp_path / "sweep")) == 1
    before = untimed(tmp_path / "sweep")
    assert run(*sweep(config, RATES, *options)) == 0
    trials = untimed(tmp_path / "sweep")
    assert trials[:1] == before
    assert [line["state"] for line in trials] == ["complete", "complete"]


@pytest.mark.slow
@untraced
def test_trials_have_the_same_weights_rows_and_order(config: Path, tmp_path: Path) -> None:
    """A setting without effect changes no digit; a different batch size is scored after the same shares."""
    space = {"data.eval_batch_size": {"choices": [512, 500]}}
    assert run(*sweep(config, space, "--sampler", "grid")) == 0
    assert len({line["val_auroc"] for line in trials_of(tmp_path / "sweep")}) == 1
    space = {"data.batch_size": {"choices": [64, 80]}}
    assert run(*sweep(config, space, "--sampler", "grid", name="sizes")) == 0
    lines = trials_of(tmp_path / "sizes")
    assert [line["data.batch_size"] for line in lines] == ["64", "80"]
    assert {(line["rows"], line["validations"]) for line in lines} == {("640", "4")}
    assert len({line["val_auroc"] for line in lines}) == 2


def test_a_trial_that_fails_says_why_and_the_others_go_on(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"model.learning_rate": {"choices": [0.5, 1e30]}, "model.embedding_dim": {"choices": [8, 4096]}}
    space |= {"model.top_mlp": {"choices": [[16, 1], [16, 2]]}}
    monkeypatch.setattr("dlrm_pl.memory.available_bytes", lambda: 4 << 20)
    with caplog_of("dlrm_pl") as lines:
        assert run(*sweep(config, space, "--sampler", "grid")) == 0
    trials = trials_of(tmp_path / "sweep")
    assert len(trials) == 8
    reasons = {}
    for trial in trials:
        reasons[trial["model.learning_rate"], trial["model.embedding_dim"], trial["model.top_mlp"]] = trial["reason"]
        assert (trial["state"] == "failed") == bool(trial["reason"])
    assert reasons["0.5", "8", "[16, 1]"] == ""
    assert "learning rate of 1e+30" in reasons["1e+30", "8", "[16, 1]"]
    assert "[16, 2]" in reasons["0.5", "8", "[16, 2]"].replace("(", "[").replace(")", "]")
    assert re.search("will need .* of memory, but", reasons["0.5", "4096", "[16, 1]"])
    assert sum(line.startswith("trial ") and "failed: " in line for line in lines) == 7
    assert yaml.safe_load((tmp_path / "sweep" / "best.yaml").read_text())["model"]["top_mlp"] == [16, 1]


@untraced
def test_where_no_trial_is_complete_the_status_says_so(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = sweep(config, {"data.eval_batch_size": {"choices": [512]}}, "--model.learning_rate", 1e30)
    expect_error(capsys, "none of 1 trials is complete.*learning rate of 1e\\+30", *command, "--max_trials", 1)
    assert not (tmp_path / "sweep" / "best.yaml").exists()
    assert trials_of(tmp_path / "sweep")[0]["state"] == "failed"


@untraced
def test_what_is_wrong_in_the_configuration_itself_ends_the_sweep(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expect_error(capsys, "top_mlp", *sweep(config, RATES, "--model.top_mlp", "[2]"))
    expect_error(capsys, "no/such: there is no such|no/such", *sweep(config, RATES, "--data.folder", "no/such"))


@untraced
def test_memory_that_the_allocator_does_not_have_is_a_failure(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sweep_trials.DLRMTrainer.fit
    calls = []

    def fit(self: Any, *args: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")
        real(self, *args, **options)

    monkeypatch.setattr(sweep_trials.DLRMTrainer, "fit", fit)
    assert run(*sweep(config, RATES, "--max_trials", 2)) == 0
    assert [line["state"] for line in trials_of(tmp_path / "sweep")] == ["complete", "failed"]
    assert trials_of(tmp_path / "sweep")[1]["reason"].startswith("out of memory: DefaultCPUAllocator")


@pytest.mark.slow
@untraced
def test_tables_are_freed_between_trials(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[DLRMModule]] = []
    alive: list[int] = []
    real = DLRMModule.__init__

    def init(self: DLRMModule, *args: Any, **options: Any) -> None:
        alive.append(sum(module() is not None for module in made))
        made.append(weakref.ref(self))
        real(self, *args, **options)

    # The same way jsonargparse reads its parameters.
    init.__wrapped__ = real  # type: ignore[attr-defined]
    init.__doc__ = real.__doc__
    monkeypatch.setattr(DLRMModule, "__init__", init)
    gc.disable()
    try:
        space = {"model.learning_rate": {"choices": [0.5, 0.1, 1e30]}}
        assert run(*sweep(config, space, "--sampler", "grid")) == 0
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


@untraced
@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            {"model.learning_rat": {"low": 1, "high": 2}},
            "did you mean model.learning_rate?",
        ),
        ({"model.learning_rate": {"low": 2.0, "high": 1.0}}, "low=2.0 must be below high=1.0"),
        ({"model.learning_rate": {"low": 0, "high": 1, "log": True}}, "low=0 must be above 0"),
        ({"model.optimizer": {"choices": []}}, "choices is empty"),
        ({"model.optimizer": {"choices": ["sgd", 1]}}, "mixes numbers and texts"),
        ({"model.optimizer": {"choices": ["sgd", "adm"]}}, "space: model.optimizer: .*'adm' is not one of sgd"),
        ({"model.embedding_dim": {"choices": [4, 8.5]}}, "model.embedding_dim: 8.5 is not a whole number"),
        ({"model": {"choices": [1]}}, "there is no setting model"),
        ({"trainer.callbacks": {"choices": [None]}}, "trainer.callbacks cannot vary"),
        ({"model.table_sizes": {"choices": [[1]]}}, "there is no setting model.table_sizes"),
        ([1], "space"),
    ],
)
def test_a_bad_space_is_refused_before_any_work(
    config: Path, space: Any, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expect_error(capsys, words, *sweep(config, space))
    assert not (tmp_path / "sweep").exists()


@untraced
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max_steps", 5), "--rows_per_trial and --max_steps are mutually exclusive"),
        (("--rows_per_trial", 0), "rows_per_trial=0 must be at least 1"),
        (("--sampler", "grid"), "a range of numbers without a step"),
        (("--trainer.limit_val_batches", 0), "limit_val_batches=0: a sweep compares trials by their AUROC"),
        (("--trainer.strategy", "sharded"), "A sweep trains in one process"),
        (("--trainer.devices", 2), "one process, not in 2"),
        (("--ckpt_path", "x.ckpt"), "--ckpt_path x.ckpt: trials always train from the beginning"),
        (("--validations", 0), "validations=0 must be at least 1"),
        (("--sampler", "cma"), "'cma' is not one of tpe, random, grid"),
    ],
)
def test_an_option_that_cannot_work_is_refused(
    config: Path, options: tuple[object, ...], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expect_error(capsys, words, *sweep(config, RATES, *options))
    assert not (tmp_path / "sweep" / "trials.csv").exists()


@untraced
@pytest.mark.slow
def test_a_sweep_with_other_settings_is_refused_with_what_changed(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(*sweep(config, RATES, "--max_trials", 2)) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "sweep").iterdir()}
    wider = {"model.learning_rate": RATES["model.learning_rate"] | {"high": 2.0}}
    more = RATES | {"model.optimizer": {"choices": ["sgd"]}}
    for space, options, words in (
        (wider, (), r"space\.model\.learning_rate\.high changed from 1\.0 to 2\.0"),
        (more, (), r"space\.model\.optimizer changed from not given to"),
        (RATES, ("--model.top_mlp", "[8,1]"), r"configuration\.model\.top_mlp changed from \[16, 1\] to \[8, 1\]"),
        (RATES, ("--rows_per_trial", 320), "rows_per_trial changed from 640 to 320"),
        (RATES, ("--pruner", "none"), "pruner changed from median to none"),
        (RATES, ("--seed_everything", 5), "seed_everything changed from 1 to 5"),
    ):
        expect_error(capsys, f"holds a sweep, made differently: {words}", *sweep(config, space, *options))
    assert {path.name: path.read_bytes() for path in (tmp_path / "sweep").iterdir()} == before
    assert run(*sweep(config, wider, "--max_trials", 1, "--overwrite")) == 0
    assert len(trials_of(tmp_path / "sweep")) == 1
    assert run(*sweep(config, wider, "--max_trials", 2, "--overwrite")) == 0  # The same sweep continues.
    assert len(trials_of(tmp_path / "sweep")) == 2


@untraced
@pytest.mark.slow
def test_another_dataset_is_another_sweep(
    config: Path, dataset_copy: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(*sweep(config, RATES, "--max_trials", 1)) == 0
    assert run(*sweep(config, RATES, "--max_trials", 2, "--data.folder", dataset_copy)) == 0  # The same rows.
    from dlrm_pl.data.synthetic.synthesize import synthesize

    synthesize(tmp_path / "other", rows=3000, days=3, seed=2, label_rate=0.2, max_table_size=100)
    command = sweep(config, RATES, "--data.folder", tmp_path / "other")
    expect_error(capsys, r"dataset\.fingerprint changed from", *command)


@untraced
@pytest.mark.slow
def test_few_clicks_of_val_are_warned_of(config: Path, tmp_path: Path) -> None:
    from dlrm_pl.data.synthetic.synthesize import synthesize

    synthesize(tmp_path / "few", rows=2000, days=3, seed=2, label_rate=0.1, max_table_size=100)
    for folder, few in ((tmp_path / "few", True), (None, False)):
        with caplog_of("dlrm_pl") as lines:
            command = sweep(config, RATES, "--max_trials", 1, name=f"few {few}")
            assert run(*command, *(() if folder is None else ("--data.folder", folder))) == 0
        assert any(re.match(r"val has only \d\d clicks, so its AUROC", line) for line in lines) == few


@untraced
@pytest.mark.slow
def test_a_folder_with_other_files_is_refused(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(*sweep(config, RATES, "--max_trials", 1)) == 0
    (tmp_path / "sweep" / ".trials.csv.123.tmp").write_text("left by a killed run")
    assert run(*sweep(config, RATES, "--max_trials", 1)) == 0
    (tmp_path / "sweep" / "mine.txt").write_text("x")
    expect_error(capsys, "holds files that this command did not write, mine.txt", *sweep(config, RATES, "--overwrite"))
    assert (tmp_path / "sweep" / "mine.txt").read_text() == "x"


def test_without_optuna_the_extra_is_named(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    expect_error(capsys, r'pip install "dlrm-pl\[tune\]"', *sweep(config, RATES))
    assert not (tmp_path / "sweep").exists()


@untraced
@pytest.mark.slow
def test_pruned_trials_are_shown_as_such_and_progress_is_a_line_a_trial(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = [0.5, 0.4, 0.45, 0.55, 0.6, 1e-7, 1e-6]
    space = {"model.learning_rate": {"choices": rates}}
    with caplog_of("dlrm_pl") as lines:
        assert run(*sweep(config, space, "--sampler", "grid", "--repeats", 2)) == 0
    trials = trials_of(tmp_path / "sweep")
    assert [line["state"] for line in trials] == [*["complete"] * 5, "pruned", "pruned"]
    assert {(line["rows"], line["validations"]) for line in trials[5:]} == {("320", "2")}
    assert len([line for line in lines if re.match(r"trial \d of 7: |trial \d: ", line)]) == 7
    assert "5 of 7 trials complete, 2 pruned." in capsys.readouterr().out


@untraced
def test_the_time_ends_a_sweep_and_counts_that_of_earlier_runs(config: Path, tmp_path: Path) -> None:
    command = sweep(config, RATES, "--timeout_s", 0.001)
    assert run(*command) == 0
    assert run(*command) == 0
    assert len(trials_of(tmp_path / "sweep")) == 1


@untraced
@pytest.mark.slow
def test_the_default_space_has_the_settings_of_the_model(config: Path, tmp_path: Path) -> None:
    command = ["sweep", "-c", config, "--output", tmp_path / "sweep", *SHORT, "--max_trials", 1]
    assert run(*command) == 0
    space = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["settings"]["space"]
    assert list(space) == [
        f"model.{name}"
        for name in (
            *("learning_rate", "optimizer", "dense_optimizer", "dense_learning_rate"),
            *("embedding_dim", "bottom_mlp", "top_mlp"),
        )
    ]
    assert trials_of(tmp_path / "sweep")[0]["model.dense_learning_rate"] == ""
    assert trials_of(tmp_path / "sweep")[0]["state"] == "complete"


@untraced
def test_the_command_that_fits_has_the_configuration_of_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"space": RATES}))
    (tmp_path / "mine.yaml").write_text("data: {batch_size: 64}")
    words = ["-c", str(FOLDER / "experiment" / "small_log.yaml"), "-c", str(tmp_path / "space.yaml")]
    words += [f"--config={tmp_path}/mine.yaml", "--data.folder", "my data", "--output", "x", "--max_trials=3"]
    words += ["--space.model.learning_rate", "{low: 1, high: 2}", "--overwrite", "--model.top_mlp=[1]"]
    assert fit_command(words, Path("x/best.yaml")) == (
        f"dlrm-pl fit -c small_log -c {tmp_path}/mine.yaml --data.folder 'my data' '--model.top_mlp=[1]' -c x/best.yaml"
    )
