"""Runs of preprocessing: interrupted, repeated, bounded; and what its options do."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing import run as module
from dlrm_pl.data.preprocessing.checkpoint import WorkFolder
from dlrm_pl.data.preprocessing.engine import numpy_engine
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.options import PreprocessOptions, parse_bad_rows, parse_memory
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import ConfigurationError, DataFormatError, OutputError
from dlrm_pl.inspection import describe
from tests.reference import preprocessing as reference
from tests.support.raw_logs import GOOD, contents, line, random_lines, read, write_days

# Many chunks, checkpoints and buckets on little data.
MANY = PreprocessOptions(memory_bytes=16 << 20, checkpoint_bytes=150_000, workers=16)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four uneven days, 1.5 MB of text."""
    days = [random_lines(rows, seed) for seed, rows in enumerate((2500, 1, 3000, 1501))]
    return write_days(tmp_path_factory.mktemp("raw"), days)


@pytest.fixture(scope="module")
def expected(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one uninterrupted run makes of them."""
    folder = tmp_path_factory.mktemp("expected") / "out"
    preprocess(raw, folder, MANY)
    return contents(folder)


class Killed(BaseException):
    """Stands for a signal that nobody survives."""


@pytest.mark.parametrize("number", [0, 1, 2, 5, 8, 9, 10])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_run_killed_at_a_checkpoint_goes_on_to_the_same_bytes(
    raw: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, before: bool
) -> None:
    commits = itertools.count()
    real = WorkFolder.commit

    def commit(self: WorkFolder, state: object) -> None:
        due = next(commits) == number
        if due and before:
            raise Killed
        real(self, state)  # type: ignore[arg-type]
        if due:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "commit", commit)
        patch.setattr(WorkFolder, "remove", lambda self: None)  # Who is killed tidies nothing up.
        patch.setattr(WorkFolder, "start", lambda self: self.finished.mkdir(parents=True))
        with pytest.raises(Killed):
            preprocess(raw, tmp_path / "out", MANY)
    left = WorkFolder(tmp_path / "out")
    assert left.path.exists()
    # What a dying process may have written behind the checkpoint.
    for name in ("bucket_0", "last_day", "values_3.u4"):
        if (left.path / name).exists():
            with (left.path / name).open("ab") as handle:
                handle.write(b"half a record")
    preprocess(raw, tmp_path / "out", MANY)
    assert contents(tmp_path / "out") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_checkpoints_are_taken_in_both_stages(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = []
    real = WorkFolder.commit
    monkeypatch.setattr(
        WorkFolder, "commit", lambda self, state: (phases.append((state.phase, state.merged)), real(self, state))
    )
    preprocess(raw, tmp_path / "out", MANY)
    assert phases.count(("scatter", 0)) > 5
    assert phases[-1][0] == "merge"
    assert phases[-1][1] >= 1


CHILD = """
import sys
from pathlib import Path
from typing import Any
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.checkpoint import WorkFolder
real, left = WorkFolder.commit, int(sys.argv[3])
def commit(self, state):
    global left
    real(self, state)
    left -= 1
    if left == 0:
        print("held", flush=True)
        sys.stdin.read()
WorkFolder.commit = commit
print("ready", flush=True)
options = PreprocessOptions(memory_bytes=16 << 20, checkpoint_bytes=150_000, workers=16)
preprocess(Path(sys.argv[1]), Path(sys.argv[2]), options)
"""


def test_kill_9_at_random_points_and_the_same_command_again(
    raw: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    output, draw = tmp_path / "out", random.Random(os.urandom(4))
    # The first is held where it surely is in the middle; how far the others come is up to the machine.
    for hold in (3, *[0] * 11):
        command = [sys.executable, "-c", CHILD, str(raw), str(output), str(hold)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            if hold:
                assert child.stdout.readline() == b"held\n"
            else:
                time.sleep(draw.uniform(0.0, 0.4))
            child.send_signal(signal.SIGKILL)
            status = child.wait()
        if hold:
            assert status == -signal.SIGKILL
            assert WorkFolder(output).load() is not None
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    assert contents(output) == expected
    assert {path.name for path in tmp_path.iterdir()} <= {"out", ".out.lock"}


def test_a_run_killed_after_its_last_step_but_one_leaves_nothing(
    raw: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = WorkFolder.publish

    def die(self: WorkFolder) -> None:
        raise Killed

    def publish(self: WorkFolder, output: Path) -> None:
        monkeypatch.setattr(WorkFolder, "remove", die)
        real(self, output)

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "publish", publish)
        with pytest.raises(Killed):
            preprocess(raw, tmp_path / "out", MANY)
    monkeypatch.undo()
    assert WorkFolder(tmp_path / "out").path.exists()
    assert preprocess(raw, tmp_path / "out", MANY).seconds is None
    assert contents(tmp_path / "out") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("randomize", ["total", "day", "none"])
def test_neither_workers_nor_memory_nor_the_numpy_fallback_change_a_byte(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, randomize: str
) -> None:
    runs = [
        PreprocessOptions(randomize=randomize, workers=1),  # type: ignore[arg-type]
        PreprocessOptions(randomize=randomize, workers=3, memory_bytes=16 << 20, checkpoint_bytes=1 << 16),  # type: ignore[arg-type]
    ]
    for number, options in enumerate(runs):
        preprocess(raw, tmp_path / str(number), options)
    monkeypatch.setattr(module, "engine", numpy_engine.NumPyEngine)
    preprocess(raw, tmp_path / "2", runs[1])
    first, second, third = (contents(tmp_path / str(number)) for number in range(3))
    assert first == second == third


def test_changed_options_start_afresh_and_say_why(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    real = WorkFolder.commit

    def commit(self: WorkFolder, state: object) -> None:
        real(self, state)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(WorkFolder, "commit", commit)
        preprocess(raw, tmp_path / "out", MANY)
    assert "from which the same command goes on" in caplog.text
    preprocess(raw, tmp_path / "out", PreprocessOptions(seed=5))
    assert "starting afresh: seed was 123, is now 5" in caplog.text
    preprocess(raw, tmp_path / "whole", PreprocessOptions(seed=5))
    assert read(tmp_path / "out") == read(tmp_path / "whole")


def test_a_finished_folder_is_recognised_by_what_it_was_made_from(raw: Path, tmp_path: Path) -> None:
    for path in raw.parent.glob("day_*"):
        shutil.copy2(path, tmp_path)
    first = preprocess(tmp_path / "day", tmp_path / "out")
    written = (tmp_path / "out" / "dataset.json").stat().st_mtime_ns
    again = preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(workers=1))
    assert again.seconds is None
    assert again.rows_by_day == first.rows_by_day == (2500, 1, 3000, 1501)
    assert "is complete" in str(again)
    assert (tmp_path / "out" / "dataset.json").stat().st_mtime_ns == written
    with pytest.raises(OutputError, match="made otherwise: seed was 123, is now 5"):
        preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(seed=5))
    with (tmp_path / "day_2").open("ab") as handle:
        handle.write(b"\n")
    with pytest.raises(OutputError, match="day_2 was changed"):
        preprocess(tmp_path / "day", tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    preprocess(tmp_path / "day", tmp_path / "out")


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(3000, 0), [*random_lines(3000, 1), b"bad"]])
    with pytest.raises(DataFormatError, match="day_1:3001: has 1 field"):
        preprocess(raw, tmp_path / "out", MANY)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=st.lists(st.lists(line, min_size=1, max_size=6), min_size=2, max_size=3).filter(lambda d: len(d[-1]) > 1),
    cap=st.sampled_from([0, 7, 40_000_000]),
    min_count=st.integers(1, 3),
    randomize=st.sampled_from(["none", "total"]),
)
def test_ids_of_training_days_alone(
    days: list[list[bytes]], cap: int, min_count: int, randomize: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    raw = write_days(folder, days)
    options = PreprocessOptions(max_ind_range=cap, randomize=randomize, vocabulary="train_only", min_count=min_count)  # type: ignore[arg-type]
    preprocess(raw, folder / "out", options)
    by_day, values = reference.preprocess_train_only(days, cap, min_count)
    found = read(folder / "out")
    half = (len(by_day[-1]) + 1) // 2
    train = [record for day in by_day[:-1] for record in day]
    assert sorted(found["train"]) == sorted(train)
    assert randomize == "total" or found["train"] == train
    assert found["test"] + found["val"] == by_day[-1]
    assert len(found["test"]) == half
    vocabulary = Vocabulary.load(folder / "out")
    assert [table.tolist() for table in vocabulary.values] == values
    # What `predict --raw` does with the same lines gives the same ids.
    raw_values = np.array([reference.parse(one, cap)[14:] for one in days[-1]])
    assert vocabulary.encode(raw_values)[0].tolist() == [record[14:] for record in by_day[-1]]


@pytest.mark.parametrize(
    "rule", [PreprocessOptions(), PreprocessOptions(vocabulary="train_only", min_count=2)], ids=["reference", "own"]
)
def test_vocabulary_of_another_dataset(raw: Path, tmp_path: Path, rule: PreprocessOptions) -> None:
    preprocess(raw, tmp_path / "old", rule)
    new = write_days(tmp_path / "new", [random_lines(50, 0), [*random_lines(50, 0), *random_lines(20, 99, values=900)]])
    report = preprocess(new, tmp_path / "out", PreprocessOptions(vocabulary_from=tmp_path / "old", randomize="none"))
    assert report.folder.fingerprint == DatasetFolder.open(tmp_path / "old").fingerprint
    vocabulary = Vocabulary.load(tmp_path / "old")
    lines = [*random_lines(50, 0), *random_lines(20, 99, values=900)]
    ids, unseen = vocabulary.encode(np.array([reference.parse(one, 40_000_000)[14:] for one in lines]))
    found = read(tmp_path / "out")
    assert [record[14:] for record in found["test"] + found["val"]] == ids.tolist()
    assert f"{report.folder.report['unknown_values']:,} categories are not in the vocabulary" in str(report)
    assert unseen > 0
    with pytest.raises(ConfigurationError, match="max_ind_range=7, but the vocabulary"):
        preprocess(new, tmp_path / "x", PreprocessOptions(vocabulary_from=tmp_path / "old", max_ind_range=7))


def test_subsample_drops_the_same_non_clicks_whatever_the_chunks(raw: Path, tmp_path: Path) -> None:
    options = [PreprocessOptions(subsample_rate=0.75, workers=w, memory_bytes=m << 20) for w, m in ((1, 512), (3, 16))]
    for number, one in enumerate(options):
        preprocess(raw, tmp_path / str(number), one)
    assert read(tmp_path / "0") == read(tmp_path / "1")
    preprocess(raw, tmp_path / "all", PreprocessOptions())
    fewer, whole = (DatasetFolder.open(tmp_path / name).splits["train"] for name in ("0", "all"))
    assert fewer.positives == whole.positives
    assert whole.positives is not None
    share = (fewer.records - whole.positives) / (whole.records - whole.positives)
    assert share == pytest.approx(0.25, abs=0.03)
    # The vocabulary is of the rows that stay.
    assert DatasetFolder.open(tmp_path / "0").table_sizes[25] == sum(
        split.records for split in DatasetFolder.open(tmp_path / "0").splits.values()
    )


def test_bad_rows_may_be_left_out(tmp_path: Path) -> None:
    good = random_lines(2000, 0)
    bad = [GOOD + b"\t1", b"2" + GOOD[1:], GOOD.replace(b"\t5", b"\tx", 1), b""]
    mixed = [*good[:700], *bad[:2], *good[700:1500], *bad[2:], *good[1500:], b"", b""]
    raw = write_days(tmp_path / "raw", [mixed, good])
    clean = write_days(tmp_path / "clean", [good, good])
    options = PreprocessOptions(bad_rows=0.01, memory_bytes=16 << 20, workers=2, checkpoint_bytes=1 << 16)
    report = preprocess(raw, tmp_path / "out", options)
    preprocess(clean, tmp_path / "plain", PreprocessOptions())
    assert read(tmp_path / "out") == read(tmp_path / "plain")
    rejected = [line.split(b"\t", 3) for line in (tmp_path / "out" / "rejected.tsv").read_bytes().splitlines()]
    assert [(int(number), kind.decode(), text) for _, number, kind, text in rejected] == [
        (701, "fields", bad[0]),
        (702, "label", bad[1]),
        (1503, "integer", bad[2]),
        (1504, "blank", b""),
    ]
    assert report.folder.report["rejected"] == {"fields": 1, "label": 1, "integer": 1, "blank": 1}
    assert "rejected   4 lines" in str(report)
    with pytest.raises(DataFormatError, match=r"4 of 4,004 lines .* more than the 0\.050% .*day_0:701 \(fields\)"):
        preprocess(raw, tmp_path / "strict", PreprocessOptions(bad_rows=0.0005))
    assert not (tmp_path / "strict").exists()


def test_blank_lines_across_chunks_are_judged_by_what_follows(tmp_path: Path) -> None:
    # Blank lines fill a chunk of 64 KiB, and more than one.
    blank = [b""] * 1000
    lines = random_lines(500, 0)
    small = PreprocessOptions(memory_bytes=16 << 20, workers=2)
    raw = write_days(tmp_path / "ends", [lines + blank, lines + blank])
    assert preprocess(raw, tmp_path / "out", small).rows_by_day == (500, 500)
    raw = write_days(tmp_path / "middle", [lines + blank + lines, lines])
    with pytest.raises(DataFormatError, match="day_0:501: is blank, but rows follow it"):
        preprocess(raw, tmp_path / "other", small)


def test_one_very_long_line_is_no_click_log(tmp_path: Path) -> None:
    (tmp_path / "day_0").write_bytes(b"x" * 5_000_000)
    (tmp_path / "day_1").write_bytes(GOOD)
    with pytest.raises(DataFormatError, match=r"day_0:1: is longer than 32,000 bytes, as no row of a click log is"):
        preprocess(tmp_path / "day", tmp_path / "out")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rows", [14, 16, 1000, 7001])
def test_kaggle_days_are_those_of_array_split(tmp_path: Path, rows: int, compress: bool) -> None:
    lines = random_lines(rows, 3)
    text = b"\n".join(lines) + b"\n\n"
    path = tmp_path / ("train.txt.gz" if compress else "train.txt")
    path.write_bytes(gzip.compress(text) if compress else text)
    options = PreprocessOptions(layout="kaggle", randomize="none", memory_bytes=16 << 20, checkpoint_bytes=1 << 16)
    report = preprocess(path, tmp_path / "out", options)
    days = [list(part) for part in np.array_split(np.array(lines, dtype=object), 7)]
    assert report.rows_by_day == tuple(len(day) for day in days)
    by_day, _ = reference.preprocess(days, 40_000_000)
    found = read(tmp_path / "out")
    assert found["train"] == [record for day in by_day[:-1] for record in day]
    assert found["test"] + found["val"] == by_day[-1]


def test_too_little_disk_stops_before_the_first_byte(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OutputError, match=r"of output, need [\d.]+ MiB, but the disk has 1 MiB free.*--subsample_rate"):
        preprocess(raw, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert "plan: 4 days, about 6,9" in caplog.text


def test_full_disk_in_the_middle_keeps_the_last_checkpoint(
    raw: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, used = itertools.count(), engine()
    real = used.append

    def full(*arguments: Any) -> None:
        if next(writes) == 15:
            raise OSError(28, "No space left on device")
        real(*arguments)

    with (
        monkeypatch.context() as patch,
        pytest.raises(OutputError, match=r"out: the disk is full\. .* keeps .* goes on"),
    ):
        patch.setattr(used, "append", full)
        preprocess(raw, tmp_path / "out", MANY)
    assert WorkFolder(tmp_path / "out").load() is not None
    report = preprocess(raw, tmp_path / "out", MANY)
    assert contents(tmp_path / "out") == expected
    assert "rows/s" not in str(report), "of all rows, but in the time of a part"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("not allowed to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("room", [100_000, 500_000, 1_000_000])
def test_a_disk_that_is_really_full(
    raw: Path, expected: dict[str, bytes], small_disk: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(module, "require_disk", lambda *sizes: None)  # Others fill the disk after it was checked.
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    with pytest.raises(OutputError, match=r"out: the disk is full\."):
        preprocess(raw, small_disk / "out", MANY)
    assert not (small_disk / "out").exists()
    filler.unlink()
    preprocess(raw, small_disk / "out", MANY)
    assert contents(small_disk / "out") == expected
    assert [path.name for path in small_disk.iterdir()] == ["out"]


def test_report_warns_of_what_looks_broken(tmp_path: Path) -> None:
    def day(seed: int) -> list[list[bytes]]:
        rows = [one.split(b"\t") for one in random_lines(1500, seed, values=50)]
        for row in rows:
            row[3], row[17] = b"7", b"00000001"  # I3 and C4 are constant; C26 tells every row apart.
        return rows

    days = [day(seed) for seed in range(5)]
    for row in days[2]:
        row[0], row[5], row[20] = b"1", b"9999", b""
    raw = write_days(tmp_path, [[b"\t".join(row) for row in rows] for rows in days])
    report = preprocess(raw, tmp_path / "out")
    text = str(report)
    for warning in (
        "I3 is constant: 7 in every row",
        "C4 is constant",
        "C26 is nearly all distinct: 7,500 values in 7,500 rows",
        r"day 2: 100.00% clicks, the median day has",
        "day 2: C7 is missing in 100.0% of the rows",
        "day 2: the distribution of I5 is",
    ):
        assert warning in text, text
    assert sum("day 0" in warning for warning in report.folder.report["warnings"]) == 0
    shares = report.folder.report["largest_shares"]
    assert {"column": "C4", "value": "00000001", "share": 1.0} in shares
    assert {"column": "I3", "value": "7", "share": 1.0} in shares
    assert len(shares) == 10
    rates = report.folder.report["missing_rates"]
    assert rates["I1"] == pytest.approx(0.1, abs=0.02)
    assert rates["C26"] == 0
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["report"] == report.folder.report


def test_day_without_clicks_at_all(tmp_path: Path) -> None:
    lines = [b"0" + one[1:] for one in random_lines(20, 0)]
    assert "0.0% of the rows are clicks" in str(preprocess(write_days(tmp_path, [lines, lines]), tmp_path / "out"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_count": 2}, "min_count=2 needs --vocabulary train_only"),
        ({"min_count": 0}, "min_count=0 must be at least 1"),
        ({"subsample_rate": 1.0}, "subsample_rate=1.0 must be"),
        ({"workers": 0}, "workers=0"),
        ({"memory_bytes": 1}, "memory=1 bytes must be at least 16 MiB"),
        ({"max_ind_range": 2**32}, "max_ind_range=4294967296 must be at most"),
        ({"randomize": "some"}, "randomize='some' must be one of total, day, none"),
        ({"vocabulary": "train_only", "vocabulary_from": Path()}, "vocabulary_from takes the ids as they are"),
    ],
)
def test_options_that_make_no_sense(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PreprocessOptions(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2 << 30), ("512M", 512 << 20), ("1.5 KiB", 1536), ("100", 100), ("3tb", 3 << 40)]
)
def test_memory_in_words(text: str, size: int) -> None:
    assert parse_memory(text) == size
    with pytest.raises(ConfigurationError, match="must be a number with a unit"):
        parse_memory(text + "x")


@pytest.mark.parametrize("text", ["²GiB", "9" * 5000, "9" * 400 + "T", "-1", "nan", "inf", "1e3", ""])
def test_memory_that_is_no_number(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a number with a unit"):
        parse_memory(text)


@pytest.mark.parametrize(("text", "share"), [("stop", None), ("skip:0.001", 0.001), ("skip:.5", 0.5), ("skip:0", 0.0)])
def test_bad_rows_in_words(text: str, share: float | None) -> None:
    assert parse_bad_rows(text) == share
    with pytest.raises(ConfigurationError, match="must be stop, or skip:"):
        parse_bad_rows(text + "%")


def test_half_day_without_clicks_is_told_of_when_it_is_written_and_when_it_is_inspected(tmp_path: Path) -> None:
    days = [[row.split(b"\t") for row in random_lines(60, seed)] for seed in range(2)]
    for row in days[1][:30]:
        row[0] = b"0"
    report = preprocess(
        write_days(tmp_path / "raw", [[b"\t".join(row) for row in rows] for rows in days]), tmp_path / "o"
    )
    wanted = (
        "warning: the test split has no clicks in 30 rows: AUROC is undefined on it, so `test` and `quantize` refuse it"
    )
    assert wanted in str(report)
    assert wanted in describe(tmp_path / "o")
    assert "val split" not in str(report)
