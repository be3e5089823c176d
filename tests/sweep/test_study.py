"""Proposals and pruning depend only on the trials that have ended."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from dlrm_pl.errors import ConfigurationError, DataFormatError
from dlrm_pl.sweep.settings import SweepSettings
from dlrm_pl.sweep.space import Space, read_space
from dlrm_pl.sweep.study import Study
from dlrm_pl.sweep.trial import State, Trial, best_of


def space_of(stated: dict[str, Any]) -> Space:
    return read_space(stated, stated.keys(), lambda name, value: "")


RATES = space_of({"model.learning_rate": {"low": 0.001, "high": 1.0, "log": True}})
MIXED = space_of(
    {
        "model.dense_optimizer": {"choices": [None, "adam"]},
        "model.dense_learning_rate": {
            **{"low": 0.001, "high": 0.1, "log": True},
            "when": {"model.dense_optimizer": ["adam"]},
        },
        "model.top_mlp": {"choices": [[1], [8, 1]]},
        "model.loss_threshold": {"low": 0.0, "high": 0.35, "step": 0.1},
    }
)


def settings(**changes: Any) -> SweepSettings:
    return SweepSettings(validations=4, **changes)


def ended(number: int, values: dict[str, Any], scores: Sequence[float], state: State = "complete") -> Trial:
    return Trial(number, values, state, dict(enumerate(scores, 1)), rows=100, seconds=1.0)


def filled(study: Study, trials: int) -> list[dict[str, Any]]:
    """Let a study propose trials whose scores follow from their values."""
    proposed = []
    for number in range(len(study.trials) + 1, trials + 1):
        values = study.propose()
        assert values is not None
        proposed.append(values)
        score = 0.5 + zlib.crc32(repr(sorted(values.items())).encode()) % 1000 / 4000
        state: State = "failed" if number % 5 == 0 else "pruned" if number % 4 == 0 else "complete"
        study.add(ended(number, values, [score] * (0 if state == "failed" else 1 if state == "pruned" else 4), state))
    return proposed


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_that_is_opened_again_goes_on_as_if_it_had_not_been_closed(tmp_path: Path, sampler: str) -> None:
    def make(name: str) -> Study:
        return Study(tmp_path / name, MIXED, settings(sampler=sampler, seed=3))

    whole = filled(make("whole"), 16)
    assert all(MIXED.contains(values) for values in whole)
    parts = filled(make("parts"), 5)
    # Killed while it wrote a trial and held the file's lock.
    with (tmp_path / "parts").open("a") as handle:
        handle.write('{"op_code": 4, "stud')
    (tmp_path / "parts.lock").symlink_to(tmp_path / "parts")
    parts += filled(make("parts"), 12)
    parts += filled(make("parts"), 16)
    assert parts == whole


def test_optuna_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.enable_propagation()
    try:
        filled(Study(tmp_path / "a", MIXED, settings()), 16)
    finally:
        optuna.logging.disable_propagation()
    assert caplog.messages == []


def test_another_seed_proposes_others(tmp_path: Path) -> None:
    first, second = (filled(Study(tmp_path / str(seed), RATES, settings(seed=seed)), 3) for seed in (1, 2))
    assert first != second


def test_optuna_opens_the_file(tmp_path: Path) -> None:
    study = Study(tmp_path / "j", MIXED, settings())
    filled(study, 5)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "j")))
    loaded = optuna.load_study(study_name="sweep", storage=storage)
    assert [trial.state.name for trial in loaded.trials] == ["COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "FAIL"]
    assert loaded.best_value == max(trial.auroc or 0 for trial in study.trials if trial.state == "complete")


def test_no_combination_is_tried_twice_and_a_small_space_ends(tmp_path: Path) -> None:
    small = space_of({"a": {"choices": [1, 2, 3]}, "b": {"choices": [[1], [2, 1]]}})
    for sampler in ("tpe", "random", "grid"):
        study = Study(tmp_path / sampler, small, settings(sampler=sampler))
        found = filled(study, 6)
        assert sorted(map(repr, found)) == sorted(map(repr, small.grid()))
        assert study.propose() is None


def test_what_lies_outside_the_space_is_kept_and_proposals_go_on(tmp_path: Path) -> None:
    study = Study(tmp_path / "j", RATES, settings())
    study.add(ended(1, {"model.learning_rate": 50.0}, [0.6] * 4))
    filled(study, 14)
    assert study.trials[0].values == {"model.learning_rate": 50.0}
    assert Study(tmp_path / "j", RATES, settings()).trials == study.trials


def test_pruning_decides_by_the_scores_after_the_same_share_of_rows(tmp_path: Path) -> None:
    """A trial that is then better than all others continues, however good those became later; and vice versa."""
    study = Study(tmp_path / "j", RATES, settings(pruner="median"))
    for number in range(1, 6):
        study.add(ended(number, {"model.learning_rate": 0.1 * number}, [0.50, 0.55, 0.60, 0.80]))
    judge = study.judge()
    assert not judge(1, 0.40)  # Too early to decide.
    assert not judge(2, 0.56)
    assert not judge(3, 0.61)
    judge = study.judge()
    assert not judge(1, 0.40)
    assert judge(2, 0.54)
    judge = study.judge()
    assert [judge(number, 0.54 + number / 100) for number in (1, 2)] == [False, False]
    assert judge(3, 0.59)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_a_judge_depends_on_the_trials_that_have_ended_alone(tmp_path: Path, pruner: str) -> None:
    study = Study(tmp_path / "j", RATES, settings(pruner=pruner))
    verdicts = []
    for number in range(1, 13):
        scores = [0.5 + (number * 7 % 12) / 100 + step / 1000 for step in range(1, 5)]
        judges = [study.judge(), Study(tmp_path / "j", RATES, settings(pruner=pruner)).judge()]
        decided = [[judge(step, score) for step, score in enumerate(scores, 1)] for judge in judges]
        assert decided[0] == decided[1]
        verdicts.append(any(decided[0]))
        trial = ended(number, {"model.learning_rate": 0.01 * number}, scores)
        study.add(replace(trial, noted=judges[0].noted))
    assert any(verdicts) == (pruner != "none")
    assert not verdicts[0]


def test_a_pruned_trial_is_never_the_best(tmp_path: Path) -> None:
    trials = [ended(1, {}, [0.5, 0.6, 0.7, 0.7]), ended(2, {}, [0.9], "pruned"), ended(3, {}, [], "failed")]
    assert best_of(trials) is trials[0]
    assert best_of(trials[1:]) is None


def test_trainings_with_other_seeds_are_found_by_settings_and_seed(tmp_path: Path) -> None:
    study = Study(tmp_path / "j", RATES, settings())
    trial = Trial(3, {"model.learning_rate": 0.5}, "complete", {4: 0.7}, seed=9)
    study.add_repeat(trial)
    again = Study(tmp_path / "j", RATES, settings())
    assert again.repeat({"model.learning_rate": 0.5}, 9) == trial
    assert again.repeat({"model.learning_rate": 0.5}, 8) is None
    assert again.repeat({"model.learning_rate": 0.4}, 9) is None


@pytest.mark.parametrize(
    "content",
    [b"\x00\xff\n", b"[1]\n", b"{}\n", b'{"op_code": 77, "worker_id": "a"}\n', b'{"op_code": 4, "study_id": 5}\n'],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(DataFormatError, match="j: "):
        Study(tmp_path / "j", RATES, settings())
    assert (tmp_path / "j").read_bytes() == content


@pytest.mark.parametrize("change", [{"state": "won"}, {"scores": {"1": "a"}}, {"rows": None}, {"values": 3}])
def test_a_trial_that_was_altered_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    study = Study(tmp_path / "j", RATES, settings())
    study.add(ended(1, {"model.learning_rate": 0.5}, [0.5] * 4))
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    lines[-1]["user_attrs"]["trial"] |= change
    (tmp_path / "j").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(DataFormatError, match="does not contain the trials of a sweep"):
        Study(tmp_path / "j", RATES, settings())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_trials": 0}, "max_trials=0 must be at least 1"),
        ({"repeats": -1}, "repeats=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"timeout_s": float("nan")}, "timeout_s=nan"),
        ({"sampler": "cma"}, "sampler='cma'"),
    ],
)
def test_a_setting_out_of_range_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        SweepSettings(**change)


def test_trials_are_limited_unless_something_else_ends_them() -> None:
    assert SweepSettings().trials == 20
    assert SweepSettings(timeout_s=1.0).trials is None
    assert SweepSettings(sampler="grid").trials is None
    assert SweepSettings(timeout_s=1.0, max_trials=3).trials == 3
