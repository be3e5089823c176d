"""A search that ends early, by ctrl-C or killed, and how the next one continues it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import signal
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn
from torchmetrics.classification import BinaryF1Score

from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.search_identity import search_identity
from dlrm_pl.errors import NonFiniteError
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SpaceSettings
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.trials.trial_log import TrialLog
from dlrm_pl.quantization.search.tune import tune
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny
from tests.support.processes.forked import Forked
from tests.support.quantization.resumable import SETTINGS, data, summary

pytestmark = pytest.mark.long


PROGRAM = """
    import json, sys, time
    from pathlib import Path
    from tests.support import tiny
    import torch
    import dlrm_pl.quantization.search.tune as tuning
    from dlrm_pl.artifact.writing.build import build_artifact
    from tests.support.quantization.resumable import SETTINGS, data, summary

    torch.set_num_threads(1)  # As the test itself.

    class Slow(tuning.TuningListener):
        def on_trial_end(self, trial, *, resumed):
            print(trial.number, "resumed" if resumed else "new", flush=True)
            time.sleep(0.0 if resumed else float(sys.argv[2]))

    outcome = build_artifact(tiny.model(), data(), SETTINGS, Path(sys.argv[1]), listeners=[Slow()])
    print(json.dumps(summary(outcome)), flush=True)
"""


def start(output: Path, pause_s: float) -> Forked:
    return Forked(textwrap.dedent(PROGRAM), [output, pause_s])


def kill_after(output: Path, trials: int) -> None:
    """Start a search and kill it after a number of trials."""
    process = start(output, pause_s=0.05)
    try:
        while process.output().count("\n") < trials and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL, process.errors()


def finish(output: Path) -> tuple[list[str], dict[str, object]]:
    process = start(output, pause_s=0.0)
    printed, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    *trials, last = printed.splitlines()
    return trials, json.loads(last)


def test_killed_search_goes_on_repeats_nothing_and_ends_the_same(tmp_path: Path) -> None:
    uninterrupted = summary(build_artifact(tiny.model(), data(), SETTINGS, tmp_path / "whole" / "a"))
    output = tmp_path / "killed" / "a"
    kill_after(output, 4)
    log = output.parent / ".a.trials.jsonl"
    assert len(log.read_text().splitlines()) >= 5  # The search's identity, and the trials.
    with log.open("ab") as handle:
        handle.write(b'{"kind": "trial", "number": 9, "rec')  # A kill in the middle of a line.
    trials, resumed = finish(output)
    words = [line.split()[1] for line in trials]
    assert words[:4] == ["resumed"] * 4
    assert words == sorted(words, reverse=True)  # First the finished trials, then new ones.
    assert words[-1] == "new"
    assert len(trials) == 12
    assert resumed == json.loads(json.dumps(uninterrupted))
    assert not log.exists()


def eval_func_that_stops_at(trial: int) -> tuple[object, list[int]]:
    calls: list[int] = []

    def eval_func(model: nn.Module) -> float:
        if not isinstance(model, Int8DLRM):
            return 0.8
        calls.append(1)
        if len(calls) == trial:
            raise KeyboardInterrupt
        return 0.7 + 0.001 * len(calls)

    return eval_func, calls


def search(eval_func: object, log: TrialLog | None = None) -> TuningResult:
    settings = TuningSettings(criterion=Criterion(absolute=0.0), max_trials=8)
    return tune(tiny.model(), tiny.batches(1, 32), eval_func, settings, trial_log=log)  # type: ignore[arg-type]


def test_interrupt_ends_with_the_best_so_far(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    eval_func, _ = eval_func_that_stops_at(5)
    result = search(eval_func, TrialLog(path, {}))
    assert result.interrupted
    assert result.stopped_because == "it was interrupted"
    assert len(result.trials) == 4
    assert result.best.number == 4
    assert result.to_dict()["accepted"] is False
    # The same command continues after the four trials.
    eval_func, calls = eval_func_that_stops_at(100)
    again = search(eval_func, TrialLog(path, {}))
    assert len(again.trials) == 8
    assert len(calls) == 4
    assert not again.interrupted


def test_search_that_fails_before_its_first_trial_leaves_no_log(tmp_path: Path) -> None:
    def eval_func(model: nn.Module) -> float:
        return float("nan")

    with pytest.raises(NonFiniteError, match="returned nan"):
        build_artifact(tiny.model(), data(), SETTINGS, tmp_path / "artifact", eval_func=eval_func)
    assert list(tmp_path.iterdir()) == []


class Interrupting(TuningListener):
    """Raises ctrl-C after the first trial."""

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(("threshold", "known"), [(0.3, True), (0.6, False)])
def test_log_of_a_metric_with_other_options_is_not_continued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, threshold: float, known: bool
) -> None:
    def score(threshold: float) -> AUROCEvaluation:
        return AUROCEvaluation(data().tuning, BinaryF1Score(threshold=threshold))

    arguments = (tiny.model(), data(), SETTINGS, tmp_path / "artifact")
    build_artifact(*arguments, eval_func=score(0.3), listeners=[Interrupting()])
    with caplog.at_level(logging.INFO, logger="dlrm_pl"):
        build_artifact(*arguments, eval_func=score(threshold), overwrite=True)
    assert ("resuming; trials finished before: 1" in caplog.text) == known
    assert ("its options of the score.threshold was 0.3 and is now 0.6" in caplog.text) != known


def test_log_of_other_rows_of_the_same_number_is_not_continued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for rows in ("abc", "xyz"):
        TrialLog(tmp_path / "t.jsonl", search_identity("abc", tiny.model(), data(rows), SETTINGS, None))
    assert "its rows.tuning was 'abc' and is now 'xyz'; renamed to t.jsonl.1" in caplog.text


SCORE = """
class Score:
    def __init__(self, thresholds):
        self.thresholds = thresholds

    def __call__(self, model):
        return sum(self.thresholds)
"""


def test_options_and_source_of_a_score_are_part_of_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identity(source: str, thresholds: list[float]) -> dict[str, Any]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("score", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "score", module)
        spec.loader.exec_module(module)
        return search_identity("abc", tiny.model(), data(), SETTINGS, module.Score(thresholds))

    first = identity(SCORE, [0.1, 0.2])
    assert first["score"] == "score.Score"
    assert first["options_of_the_score"]["thresholds"] == [0.1, 0.2]
    assert identity(SCORE, [0.1, 0.2]) == first
    assert identity(SCORE, [0.1, 0.3]) != first
    assert identity(SCORE.replace("sum", "max"), [0.1, 0.2]) != first


def test_interrupt_before_any_trial_stays_an_interrupt() -> None:
    eval_func, _ = eval_func_that_stops_at(1)
    with pytest.raises(KeyboardInterrupt):
        search(eval_func)


def test_resumed_search_stops_where_its_time_was_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr("dlrm_pl.quantization.search.tune.time", clock)

    def slow(model: nn.Module) -> float:
        clock.now += 5.0  # Also for fp32, in each run.
        return 0.7 if isinstance(model, Int8DLRM) else 0.8

    class SlowListener(TuningListener):
        def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
            clock.now += 2.0

    def run(timeout_s: float) -> TuningResult:
        settings = TuningSettings(criterion=Criterion(absolute=0.0), timeout_s=timeout_s)
        log = TrialLog(tmp_path / "t.jsonl", {})
        return tune(tiny.model(), tiny.batches(1, 32), slow, settings, trial_log=log, listeners=[SlowListener()])

    # A rule that read the clock after the listeners would stop after two, and the next run after three.
    first = run(12.5)
    assert [trial.elapsed_s for trial in first.trials] == [5.0, 12.0, 19.0]
    again = run(12.5)
    assert [trial.to_dict() for trial in again.trials] == [trial.to_dict() for trial in first.trials]
    assert again.stopped_because == first.stopped_because == "timeout_s=12.5 seconds have passed"
    # With more time it continues after them, and does not start from 0.
    assert [trial.elapsed_s for trial in run(25.0).trials] == [5.0, 12.0, 19.0, 26.0]


def test_model_of_a_trial_from_the_log_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    settings = TuningSettings(criterion=Criterion(absolute=0.4))
    first, again = (
        tune(tiny.model(), tiny.batches(1, 32), lambda model: 0.5, settings, trial_log=TrialLog(path, {}))
        for _ in range(2)
    )
    assert first.best.to_dict() == again.best.to_dict()
    for name, value in first.model.state_dict().items():
        assert value.equal(again.model.state_dict()[name]), name


class StopsBefore(TuningListener):
    """Raises ctrl-C when the trial with this number is about to start."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_trial_start(self, number: int, recipe: Recipe) -> None:
        if number == self.number:
            raise KeyboardInterrupt


@pytest.mark.each_value
@pytest.mark.untraced
@pytest.mark.parametrize("strategy", ["basic", "budget"])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_strategy_goes_the_same_way_after_an_interrupt(tmp_path: Path, strategy: str, number: int) -> None:
    settings = TuningSettings(
        criterion=Criterion(absolute=0.0005, first_block=500),
        space=SpaceSettings(observers=("minmax",)),
        strategy=strategy,
        stop_at="budget",
        max_trials=6,
    )

    def search(log: TrialLog | None, *listeners: TuningListener) -> TuningResult:
        evaluation = AUROCEvaluation(tiny.batches(6, 500, seed=2))
        return tune(tiny.model(), tiny.batches(2, 64), evaluation, settings, trial_log=log, listeners=listeners)

    whole = search(None)
    path = tmp_path / "t.jsonl"
    with contextlib.suppress(KeyboardInterrupt):
        search(TrialLog(path, {}), StopsBefore(number))
    lines = path.read_text().count('"kind": "trial"')
    assert lines == number - 1 < len(whole.trials)
    again = search(TrialLog(path, {}))
    assert [(trial.recipe, trial.drop, trial.rows) for trial in again.trials] == [
        (trial.recipe, trial.drop, trial.rows) for trial in whole.trials
    ]
    assert (again.best.number, again.stopped_because) == (whole.best.number, whole.stopped_because)
