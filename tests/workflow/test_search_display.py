"""The display of a running search: a table on a terminal, log lines elsewhere, scalars in loggers."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import math
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from rich.console import Console

from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import Scores
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.tune import TRIALS_LOGGER
from dlrm_pl.trainer import DLRMTrainer
from dlrm_pl.workflow.search_display import SearchDisplay
from dlrm_pl.workflow.trial_scalars import TrialScalars
from tests.support import tiny
from tests.support.quantization import searches
from tests.support.training import quiet_trainer

START = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
BASELINE = Scores(0.8, 1.0)


def console(terminal: bool = True, width: int = 160) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=terminal, width=width, legacy_windows=False), written


def text_of(display: SearchDisplay, width: int = 160) -> str:
    written = io.StringIO()
    Console(file=written, width=width).print(display.table())
    return written.getvalue()


def test_table_has_a_line_for_each_trial_and_one_for_the_running() -> None:
    display = SearchDisplay(console()[0], 100)
    display.on_baseline(BASELINE, 0.008)
    good = searches.trial(START, 0.001, 1)
    display.on_trial_end(good, resumed=True)
    display.on_trial_end(searches.trial(START, 0.02, 2), resumed=False)
    display.on_trial_end(searches.trial(START, None, 3), resumed=False)
    display.on_trial_start(4, START)
    display.on_look(4, searches.verdict(0.0012, rows=16_384))
    lines = text_of(display).splitlines()
    assert "fp32 0.800000, tolerated drop 0.008000" in lines[0]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert [row[0] for row in cells] == ["1", "2", "3", "4"]
    assert [row[6] for row in cells] == ["accepted", "rejected", "failed", "running"]
    assert cells[0][1:4] == ["+0.001000", "+0.001000", "1,000"]
    assert cells[2][7] == "made up"
    assert cells[3][1:4] == ["+0.001200", "+0.001200", "16,384"]
    display.on_stop(good, "it was interrupted")
    assert "stopped: it was interrupted" in text_of(display)
    assert "chosen" in text_of(display)


def test_long_search_shows_the_last_trials_and_the_best() -> None:
    display = SearchDisplay(console()[0], 100)
    for number in range(1, 41):
        display.on_trial_end(searches.trial(START, 0.02, number), resumed=False)
    assert "28 earlier trials" in text_of(display)
    assert "│    28 │" not in text_of(display)
    display.on_stop(searches.trial(START, 0.02, 5), "made up")
    assert "│     5 │" in text_of(display)
    assert "best" in text_of(display)


def test_recipes_are_told_apart_by_what_they_do_not_share_with_the_first() -> None:
    display = SearchDisplay(console()[0], 100)
    recipes = [START, dataclasses.replace(START, observer="kl"), START.with_dtype("tables.1", "fp16")]
    recipes += [recipes[1].with_dtype("top_mlp.0", "bf16"), Recipe.all_float(tiny.ARCHITECTURE)]
    for number, recipe in enumerate(recipes, start=1):
        display.on_trial_end(searches.trial(recipe, 0.001, number), resumed=False)
    lines = [line.split("│")[-2].strip() for line in text_of(display).splitlines() if line.startswith("│")]
    assert lines[0] == START.describe()
    assert lines[1:] == ["but kl", "but fp16 tables.1", "but bf16 top_mlp.0; kl", "but fp32 9 ops"]


def test_interrupted_trial_is_not_left_running() -> None:
    display = SearchDisplay(console()[0], 100)
    display.on_trial_end(searches.trial(START, 0.001, 1), resumed=False)
    display.on_trial_start(2, START)
    display.on_stop(None, "it was interrupted")
    assert "running" not in text_of(display)


def test_narrow_terminal_keeps_whole_numbers() -> None:
    display = SearchDisplay(console(width=80)[0], 100)
    display.on_trial_end(searches.trial(START, 0.001, 1), resumed=False)
    text = text_of(display, 80)
    assert "+0.001000" in text
    assert "samples/s" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_markup_in_an_error_is_not_read() -> None:
    display = SearchDisplay(console()[0], 100)
    failed = searches.trial(START, None, 1)
    object.__setattr__(failed, "error", "expected [B, 8] [/red]")
    display.on_trial_end(failed, resumed=False)
    assert "expected [B, 8] [/red]" in text_of(display)


def test_terminal_gets_the_table_and_not_the_lines_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on, written = console()
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    stream = handler.stream
    trials, other = logging.getLogger(TRIALS_LOGGER), logging.getLogger("dlrm_pl.quantization.search.tune")
    with SearchDisplay(on, 100) as display:
        display.on_baseline(BASELINE, 0.008)
        display.on_trial_start(1, START)
        display.packed(40)
        trials.error("a line of a trial")
        other.error("another line")
        display.on_trial_end(searches.trial(START, 0.001, 1), resumed=False)
    assert "+0.001000" in written.getvalue()
    assert "another line" in written.getvalue()  # Above the table, rather than through it.
    assert "a line of a trial" not in written.getvalue() + capsys.readouterr().err
    assert handler.stream is stream
    assert not trials.disabled


def test_what_is_no_terminal_gets_lines_alone() -> None:
    on, written = console(terminal=False)
    with SearchDisplay(on, 100) as display:
        display.on_baseline(BASELINE, 0.008)
        display.packed(40)
        display.on_trial_end(searches.trial(START, 0.001, 1), resumed=False)
        assert not logging.getLogger(TRIALS_LOGGER).disabled
    assert written.getvalue() == ""


def test_display_ends_when_the_search_fails() -> None:
    on, written = console()
    with pytest.raises(KeyboardInterrupt), SearchDisplay(on, 100) as display:
        display.on_baseline(BASELINE, 0.008)
        display.on_trial_start(1, START)
        raise KeyboardInterrupt
    assert written.getvalue().count("\x1b[?25l") == written.getvalue().count("\x1b[?25h")  # The cursor is back.
    assert not logging.getLogger(TRIALS_LOGGER).disabled


def read_csv(folder: str) -> list[dict[str, str]]:
    with (Path(folder) / "metrics.csv").open() as handle:
        return list(csv.DictReader(handle))


def test_scalars_are_written_while_the_search_runs(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    scalars = TrialScalars([logger])
    scalars.on_baseline(BASELINE, 0.008)
    scalars.on_trial_end(searches.trial(START, 0.001, 1), resumed=True)
    scalars.on_trial_end(searches.trial(START, None, 2), resumed=False)
    rows = read_csv(logger.log_dir)
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert float(rows[0]["trial/tolerance"]) == 0.008
    assert float(rows[1]["trial/drop"]) == 0.001
    assert [row["trial/accepted"] for row in rows[1:]] == ["1.0", "0.0"]
    assert [row["trial/failed"] for row in rows[1:]] == ["0.0", "1.0"]
    assert rows[2]["trial/drop"] == ""


def test_unknown_bound_is_left_out() -> None:
    class Keeping(CSVLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
            kept.update(metrics)

        def save(self) -> None:
            pass

    kept: dict[str, float] = {}
    trial = searches.trial(START, 0.001, 1)
    object.__setattr__(trial, "verdict", searches.verdict(0.001, bound=math.inf, low=-math.inf))
    TrialScalars([Keeping("unused")]).on_trial_end(trial, resumed=False)
    assert "trial/drop" in kept
    assert "trial/drop_bound" not in kept


def test_tensorboard_gets_an_event_for_each_trial(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator

    logger = TensorBoardLogger(tmp_path)
    scalars = TrialScalars([logger])
    for number, drop in enumerate((0.003, 0.002), start=1):
        scalars.on_trial_end(searches.trial(START, drop, number), resumed=False)
        events = event_accumulator.EventAccumulator(logger.log_dir)
        events.Reload()
        found = events.Scalars("trial/drop")
        assert [event.step for event in found] == list(range(1, number + 1))
        assert found[-1].value == pytest.approx(drop)
    logger.finalize("success")


@pytest.mark.untraced
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("command", ["fit", "quantize"])
def test_trainers_loggers_get_the_search(
    command: str, module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    logger: Logger = CSVLogger(tmp_path / "log")
    quantizing = QuantizationCallback(str(tmp_path / "a"), criterion=Criterion(relative=0.5))
    trainer = DLRMTrainer(
        *(), accelerator="cpu", max_steps=1, limit_val_batches=0, callbacks=[quantizing, RichProgressBar()],
        logger=logger, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    if command == "fit":
        trainer.fit(module, datamodule=data)
    else:
        trainer.quantize(module, data)
    assert isinstance(logger, CSVLogger)
    rows = [row for row in read_csv(logger.log_dir) if row["trial/drop"]]
    assert [row["step"] for row in rows] == ["1"]
    assert (tmp_path / "a" / "report.html").is_file()


def test_listeners_of_the_users_own_are_told(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    class Counting(TrialScalars):
        def on_trial_end(self, trial: object, *, resumed: bool) -> None:
            told.append(trial)

        def on_baseline(self, baseline: Scores, tolerance: float) -> None:
            pass

    told: list[object] = []
    quantizing = QuantizationCallback(str(tmp_path / "a"), criterion=Criterion(relative=0.5))
    quantizing.listeners.append(Counting([]))
    outcome = quiet_trainer(callbacks=[quantizing]).quantize(module, data)
    assert told == list(outcome.tuning.trials)
    assert isinstance(quantizing, pl.Callback)
