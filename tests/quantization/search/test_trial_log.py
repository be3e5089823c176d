"""The log of finished trials: what is read back, and what is not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrm_pl.errors import OutputError
from dlrm_pl.quantization.judging.guards import GuardReading
from dlrm_pl.quantization.judging.slices.worst_slice import SliceReading
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.objective import Latency
from dlrm_pl.quantization.search.trials.sealed_line import opened, seal, sealed
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.trials.trial_log import TrialLog
from tests.support import tiny
from tests.support.quantization import searches

START = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
OTHER = START.with_dtype("tables.1", "int4")
IDENTITY = {"model": "abc", "seed": 1, "rows": (1, 2), "criterion": {"relative": 0.1, "limits": {"rows": 5}}}


def filled(path: Path) -> TrialLog:
    log = TrialLog(path, IDENTITY)
    log.add(searches.trial(START, 0.001))
    log.add(searches.trial(OTHER, None, number=2))
    return log


def test_trials_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    filled(path)
    again = TrialLog(path, IDENTITY)
    assert len(again) == 2
    assert again.find(START) == searches.trial(START, 0.001)
    assert again.find(OTHER) == searches.trial(OTHER, None, number=2)
    assert again.find(OTHER.with_dtype("tables.0", "int4")) is None


def test_trial_survives_json_with_guards_bounds_and_latency() -> None:
    from dataclasses import replace

    guard = GuardReading("log_loss", 0.1, 0.11, 0.1, 0.002, 0.005, two_sided=False)
    verdict = searches.verdict(0.001, bound=float("inf"), low=float("-inf"), guards=(guard,))
    trial = replace(searches.trial(START, 0.001), verdict=verdict, latency=Latency(3.0, 2.0, None))
    text = json.dumps(trial.to_dict(), allow_nan=False)
    assert Trial.from_dict(json.loads(text)) == trial


def test_what_a_strategy_measured_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    assert TrialLog(path, IDENTITY).cached("traces", lambda: {"a": (1, 2)}) == {"a": [1, 2]}

    def never() -> object:
        raise AssertionError("was remembered")

    assert TrialLog(path, IDENTITY).cached("traces", never) == {"a": [1, 2]}


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_line_that_was_cut_short_is_dropped_and_said(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.jsonl"
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with caplog.at_level(logging.INFO):
        log = TrialLog(path, IDENTITY)
    assert "the last line is incomplete" in caplog.text
    assert len(log) == 1
    log.add(searches.trial(OTHER, None, number=2))
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "xyz"}, "its model was 'abc' and is now 'xyz'"),
        ({"rows": (1, 3)}, r"its rows was \[1, 2\] and is now \[1, 3\]"),
        ({"criterion": {"relative": 0.2, "limits": {"rows": 5}}}, "its criterion.relative was 0.1 and is now 0.2"),
        ({"criterion": {"relative": 0.1, "limits": {"rows": 6}}}, "its criterion.limits.rows was 5 and is now 6"),
    ],
)
def test_log_of_another_search_is_set_aside_with_the_reason(
    tmp_path: Path, changes: dict[str, object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.jsonl"
    filled(path)
    before = path.read_bytes()
    log = TrialLog(path, IDENTITY | changes)
    assert len(log) == 0
    assert caplog.messages
    import re

    assert re.search(reason, caplog.text)
    assert (tmp_path / "t.jsonl.1").read_bytes() == before
    filled(path)  # The first search again: the second one's log is set aside as well, under the next name.
    assert (tmp_path / "t.jsonl.2").exists()


@pytest.mark.parametrize(
    "content", [b"\x00\xff\n", b"[1, 2]\n", b'{"kind": "trial"}\n', b'{"kind": "search", "format": 1}\n', b"null\n"]
)
def test_file_that_is_no_log_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    assert len(TrialLog(path, IDENTITY)) == 0
    assert (tmp_path / "t.jsonl.1").read_bytes() == content
    assert len(filled(path)) == 2


def edit_drop(line: bytes) -> bytes:
    return line.replace(b'"drop": 0.001', b'"drop": 0.0001')


def rename_field(line: bytes) -> bytes:
    return line.replace(b'"drop"', b'"lose"')


def flip_a_bit(line: bytes) -> bytes:
    return line[:40] + bytes([line[40] ^ 1]) + line[41:]


def swap_case_of_checksum(line: bytes) -> bytes:
    return line[:-12] + line[-12:].swapcase() if line[-12:].swapcase() != line[-12:] else line + b" "


@pytest.mark.parametrize("change", [edit_drop, rename_field, flip_a_bit, swap_case_of_checksum])
def test_altered_line_does_not_count_as_finished(
    tmp_path: Path, change: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.jsonl"
    filled(path)
    before = path.read_bytes()
    lines = before.splitlines()
    altered = b"\n".join([lines[0], change(lines[1]), *lines[2:], b""])
    assert altered != before
    path.write_bytes(altered)
    log = TrialLog(path, IDENTITY)
    assert log.find(START) is None
    assert log.find(OTHER) == searches.trial(OTHER, None, number=2)
    assert f"{path}: line 2 was altered (its checksum does not match" in caplog.text
    assert (tmp_path / "t.jsonl.1").read_bytes() == altered
    caplog.clear()
    log.add(searches.trial(START, 0.001))
    again = TrialLog(path, IDENTITY)
    assert (again.find(START), len(again)) == (searches.trial(START, 0.001), 2)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_every_flipped_bit_of_a_line_is_found(tmp_path: Path) -> None:
    line = sealed({"kind": "note", "name": "a", "value": 1.5}, 3, seal(IDENTITY))
    assert opened(line, seal(IDENTITY)) == (3, {"kind": "note", "name": "a", "value": 1.5})
    for place in range(8 * len(line)):
        flipped = bytearray(line)
        flipped[place // 8] ^= 1 << place % 8
        assert opened(bytes(flipped), seal(IDENTITY))[1] is None


def test_moved_line_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.jsonl"
    filled(path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], lines[2], lines[1], b""]))
    assert len(TrialLog(path, IDENTITY)) == 1
    assert f"{path}: line 3 was written as line 2" in caplog.text


def test_repeated_line_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    filled(path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines, lines[2], b""]))
    assert len(TrialLog(path, IDENTITY)) == 2
    assert len(path.read_bytes().splitlines()) == 3


def test_line_of_another_search_does_not_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl"
    TrialLog(ours, IDENTITY)
    TrialLog(theirs, IDENTITY | {"model": "xyz"}).add(searches.trial(START, 0.0))
    ours.write_bytes(ours.read_bytes() + theirs.read_bytes().splitlines()[1] + b"\n")
    assert len(TrialLog(ours, IDENTITY)) == 0
    assert f"{ours}: line 2 was altered" in caplog.text


def test_edited_identity_does_not_pass(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.jsonl"
    filled(path)
    path.write_text(path.read_text().replace('"abc"', '"xyz"'))
    assert len(TrialLog(path, IDENTITY | {"model": "xyz"})) == 0
    assert "the checksum of its first line does not match" in caplog.text


def test_log_without_checksums_is_set_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.jsonl"
    head = {"kind": "search", "format": 2, "identity": IDENTITY}
    content = f"{json.dumps(head)}\n{json.dumps({'kind': 'trial'} | searches.trial(START, 0.001).to_dict())}\n"
    path.write_text(content)
    assert len(TrialLog(path, IDENTITY)) == 0
    assert "its format is 2, but this version reads 3 and 4" in caplog.text
    assert (tmp_path / "t.jsonl.1").read_text() == content


def test_log_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").mkdir()
    with pytest.raises(OutputError, match="the trial log cannot be used"):
        TrialLog(tmp_path / "t.jsonl", IDENTITY)


def test_empty_file_is_a_log_that_did_not_begin(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"")
    assert len(filled(path)) == 2
    assert len(TrialLog(path, IDENTITY)) == 2


def test_log_with_losses_instead_of_drops_is_continued(tmp_path: Path) -> None:
    """The file is what an earlier version wrote for the two trials of ``filled`` and one measurement."""
    path = tmp_path / "t.jsonl"
    path.write_bytes((Path(__file__).parent / "golden" / "trials_format_3.jsonl").read_bytes())
    continued = TrialLog(path, IDENTITY)
    assert continued.find(START) == searches.trial(START, 0.001)
    assert continued.find(OTHER) == searches.trial(OTHER, None, number=2)
    assert continued.notes["sensitivities"][0]["drop"] == 0.002
    again = TrialLog(path, IDENTITY)
    assert (len(again), again.notes) == (2, continued.notes)
    assert b'loss"' not in path.read_bytes().replace(b"log_loss", b"")


def test_guards_of_a_log_of_format_3_are_read(tmp_path: Path) -> None:
    """All guards had the worst slice's fields, and small slices were left out."""
    path = tmp_path / "t.jsonl"
    of_all = {"name": "log_loss", "before": 0.1, "after": 0.11, "change": 0.1, "standard_error": 0.002}
    of_all |= {"tolerance": 0.005, "two_sided": False, "higher_is_better": False}
    of_slice = of_all | {"name": "worst_slice", "degrees_of_freedom": 9.5, "slice": "log loss of C2=1", "slices": 3}
    guards = [
        of_all | {"degrees_of_freedom": None, "slice": "", "slices": 1, "left_out": 0},
        of_slice | {"left_out": 2},
    ]
    trial = {"kind": "trial"} | searches.trial(START, 0.001).to_dict() | {"guards": guards}
    trial["loss"] = trial.pop("drop")
    head = {"kind": "search", "format": 3, "identity": json.loads(json.dumps(IDENTITY))}
    sealed_by = seal(head["identity"])
    path.write_bytes(sealed(head, 1, sealed_by) + b"\n" + sealed(trial, 2, sealed_by) + b"\n")
    for _ in range(2):  # First the old file, then the one rewritten in the current format.
        found = TrialLog(path, IDENTITY).find(START)
        assert found is not None
        assert found.verdict is not None
        whole, worst = found.verdict.guards
        assert whole == GuardReading("log_loss", 0.1, 0.11, 0.1, 0.002, 0.005)
        assert isinstance(worst, SliceReading)
        assert (worst.slice, worst.slices, worst.too_small, worst.degrees_of_freedom) == ("log loss of C2=1", 3, 2, 9.5)
