"""Runs on a cluster that end early: what is kept, and what the same command does next."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import ClusterError, DataFormatError, OutputError
from tests.support.logs.raw_logs import contents, random_lines, write_days
from tests.support.processes.clusters import ClusterHere, cluster_here

OPTIONS = PreprocessOptions(memory_bytes=16 << 20, workers=2)


def stopped_at(number: int, error: BaseException) -> Callable[[str], None]:
    """Raise an error in place of a task's result."""
    tasks = itertools.count()

    def before_task(name: str) -> None:
        if next(tasks) == number:
            raise error

    return before_task


@pytest.mark.parametrize("machines", [2, 3])
def test_ctrl_c_stops_the_tasks_and_the_same_command_goes_on(
    raw: Path, expected: dict[str, bytes], tmp_path: Path, machines: int
) -> None:
    ended = 0
    for number in itertools.count():
        cluster = ClusterHere(machines, stopped_at(number, KeyboardInterrupt()))
        with cluster_here(cluster):
            try:
                report = preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
                break
            except KeyboardInterrupt:
                ended += 1
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.rglob("*.attempt"))
    assert ended > 8
    assert report.resumed
    assert contents(tmp_path / "out") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_without_any_result_keeps_nothing(raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cluster = ClusterHere(3, stopped_at(3, KeyboardInterrupt()))  # After the checks of the machines.
    with cluster_here(cluster), pytest.raises(KeyboardInterrupt):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
    assert "Nothing is kept: no task had finished." in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert len(cluster.cancelled) == 2


def test_lost_machines_keep_what_was_done(raw: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    cluster = ClusterHere(3, stopped_at(8, ClusterError("file 2: was lost.")))
    with cluster_here(cluster), pytest.raises(ClusterError, match=r"was lost\. .* keeps .*; run the same command"):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
    cluster = ClusterHere(1)
    with cluster_here(cluster):
        assert preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere").resumed
    assert contents(tmp_path / "out") == expected


def test_other_options_start_afresh(raw: Path, tmp_path: Path) -> None:
    with cluster_here(ClusterHere(2, stopped_at(4, KeyboardInterrupt()))), pytest.raises(KeyboardInterrupt):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
    assert (tmp_path / ".out.partial").exists()
    other = PreprocessOptions(memory_bytes=16 << 20, workers=2, seed=5)
    with cluster_here(ClusterHere(1)):
        assert not preprocess(raw, tmp_path / "out", other, cluster="anywhere").resumed
    preprocess(raw, tmp_path / "one", other)
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


@pytest.mark.parametrize("machines", [2, 3])
def test_one_machine_alone_starts_afresh(raw: Path, expected: dict[str, bytes], tmp_path: Path, machines: int) -> None:
    with cluster_here(ClusterHere(machines, stopped_at(6, KeyboardInterrupt()))), pytest.raises(KeyboardInterrupt):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
    assert not preprocess(raw, tmp_path / "out", OPTIONS).resumed
    assert contents(tmp_path / "out") == expected


def test_a_bad_row_names_its_file_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_days(tmp_path / "raw", [random_lines(50, 0), [*random_lines(50, 1), b"bad"], random_lines(50, 2)])
    monkeypatch.chdir(tmp_path)
    for machines in (1, 3):
        cluster = ClusterHere(machines)
        with cluster_here(cluster), pytest.raises(DataFormatError, match=r"^raw/day_1:51: has 1 field"):
            preprocess("raw/day", "out", OPTIONS, cluster="anywhere")
        assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_too_many_bad_rows_of_all_files_together(tmp_path: Path) -> None:
    days = [[*random_lines(95, seed), *[b"bad"] * 5] for seed in range(3)]
    raw = write_days(tmp_path / "raw", days)
    options = PreprocessOptions(memory_bytes=16 << 20, workers=2, bad_rows=0.04)
    messages = []
    for cluster in (None, "anywhere"):
        with cluster_here(ClusterHere(2)), pytest.raises(DataFormatError, match="15 of 300 lines") as error:
            preprocess(raw, tmp_path / "out", options, cluster=cluster)
        messages.append(str(error.value).partition(" The first")[0])
    assert messages[0] == messages[1]


def test_a_full_disk_names_the_machine(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlrm_pl.data.preprocessing.cluster.tasks import read

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(read, "save_tables", full)
    with (
        cluster_here(ClusterHere(2)),
        pytest.raises(OutputError, match=r"out: the disk is full \(on .+\)\. .* Free some space first\."),
    ):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
