"""The record of a training as plain values and as figures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from dlrm_pl.curves.figure import MOST_BINS, charts, describe_training, training_figures
from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.errors import CheckpointError


def record_of(**changes: Any) -> TrainingRecord:
    record = TrainingRecord(loss="bce", rows_of_step=128, threads=2, step=30, groups=["dense", "tables"])
    record.losses.extend([0.7 - 0.01 * n for n in range(30)], first=1, last=30)
    for step in range(1, 31):
        record.rates.add(step, [0.1, 0.2 * step])
    for step in (10, 20, 30):
        record.speeds.add(1000.0 + step, step)
        record.validations.add(step, [0.6 + step / 200, 0.5])
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def titles(figure: str) -> list[str]:
    """Return the texts shown on hover."""
    return [element.text or "" for element in ElementTree.fromstring(figure).iter() if element.tag.endswith("title")]


def texts(figure: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(figure).iter() if element.tag.endswith("text")]


def test_plain_values_and_back_are_the_same_record() -> None:
    record = record_of(resumed=[20], bad_step=30)
    assert TrainingRecord.of_dict(record.to_dict(), "here") == record


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"loss": 3},
        {"losses": None},
        {"losses": {"width": 0}},
        {"rates": {"rows": [[0.0]], "steps": [1.0], "numbers": [0], "added": 1}},
        {"validations": {"rows": [[0.0]], "steps": [1.0], "numbers": [0], "added": 1}},
        {"groups": ["one"]},
        {"resumed": [1] * 1000},
        {"other": 1},
    ],
)
def test_damaged_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"in a\.ckpt"):
        TrainingRecord.of_dict(record_of().to_dict() | change, "in a.ckpt")


def test_only_the_last_resumptions_are_kept() -> None:
    record = record_of()
    for step in range(100):
        record.note_resumed(step)
    assert record.resumed == list(range(36, 100))
    assert record.step == 99


def test_figures_show_what_was_recorded() -> None:
    loss, auroc, rates, speed = training_figures(record_of(resumed=[20], bad_step=30))
    assert {f"step {n + 1}: {0.7 - 0.01 * n:.6g}" for n in range(30)} <= set(titles(loss))
    assert {"step 10: 0.5", "step 20: 0.5", "step 30: 0.5", "continued at step 20"} <= set(titles(loss))
    assert {"loss (bce)", "train", "val", "continued", "loss not finite"} <= set(texts(loss))
    assert {"step 10: 0.65", "step 20: 0.7", "best: 0.750000 at step 30"} <= set(titles(auroc))
    assert {"dense", "tables", "learning rate", "0"} <= set(texts(rates))
    assert {"step 10: 1010", "step 20: 1020", "step 30: 1030"} <= set(titles(speed))
    assert {"samples/s (128 rows a step, 2 threads)", "0"} <= set(texts(speed))
    assert "step 30: the loss was not finite" in titles(speed)


def test_means_that_are_drawn_of_many_batches_say_how_many() -> None:
    record = TrainingRecord(loss="bce", step=10_000)
    record.losses.extend([0.5] * 9_999 + [3.0], first=1, last=10_000)
    width = record.losses.at_most(MOST_BINS).width
    (figure,) = training_figures(record)
    assert f"train, means of {width} batches" in texts(figure)
    assert f"train, means of {width} batches; single batches 0.5 to 3" in titles(figure)


def test_a_loss_of_another_kind_is_not_drawn_over_the_log_loss_of_val() -> None:
    loss, log_loss, _, _, _ = training_figures(record_of(loss="mse"))
    assert {"loss (mse)", "train"} <= set(texts(loss))
    assert "val" not in texts(loss)
    assert "log loss, val" in texts(log_loss)


@pytest.mark.parametrize("empty", ["losses", "validations", "rates", "speeds"])
def test_what_was_not_recorded_has_no_figure(empty: str) -> None:
    record = record_of(**{empty: type(getattr(TrainingRecord(), empty))()})
    assert len(training_figures(record)) == (4 if empty == "losses" else 3)


def test_axis_begins_at_zero_unless_the_curves_begin_late() -> None:
    assert {chart.x.low for _, chart in charts(record_of())} == {0.0}
    late = TrainingRecord(step=2_000)
    late.losses.extend([1.0] * 1000, first=1_001, last=2_000)
    assert {chart.x.low > 900 for _, chart in charts(late)} == {True}


def test_axis_of_a_single_auroc_is_narrow() -> None:
    record = TrainingRecord(step=10)
    record.validations.add(10, [0.8, 0.5])
    auroc = charts(record)[1][1].y
    assert 0.79 < auroc.low < 0.8 < auroc.high < 0.81


def test_words_name_last_and_best() -> None:
    words = describe_training(record_of(resumed=[20], bad_step=30))
    assert words.startswith("30 optimizer steps. AUROC on val: best 0.750000 at step 30, last 0.750000.")
    assert "Continued from a checkpoint at step 20." in words
    assert "not finite at step 30" in words


def test_descriptions_of_figures_have_the_extremes() -> None:
    words = [said for said, _ in charts(record_of())]
    assert words[1] == "AUROC on val over the optimizer steps, between 0.65 and 0.75."
    assert len(words) == 4
