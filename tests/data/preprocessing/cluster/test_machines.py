"""Machines that differ from the one that starts a run are named before the work starts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.data.preprocessing.cluster import machines
from dlrm_pl.data.preprocessing.cluster.machines import Seen
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import ClusterError, OutputError
from tests.support.processes.clusters import ClusterHere, cluster_here

OPTIONS = PreprocessOptions(memory_bytes=16 << 20, workers=2)
LOOK = machines.look


def look_of_other(token: Path, files: Any) -> Seen:
    """The report of a machine with an older version."""
    return replace(LOOK(token, files), version="0.0.1")


def look_without_output(token: Path, files: Any) -> Seen:
    """The report of a machine that does not share the output's folder."""
    return LOOK(token.parent / "elsewhere" / token.name, files)


def look_without_logs(token: Path, files: Any) -> Seen:
    """The report of a machine that does not share the logs' folder."""
    return LOOK(token, [(f"/elsewhere{path}", size) for path, size in files])


def look_of_small(token: Path, files: Any) -> Seen:
    """The report of a machine with little memory."""
    return replace(LOOK(token, files), memory_bytes=20 << 20)


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (look_of_other, r"^machine 0: has version 0\.0\.1 of dlrm-pl, but this machine .*Install the same"),
        (look_without_output, r"^machine 0: does not see .*, the output folder\. Choose a folder .* share"),
        (
            look_without_logs,
            r"^machine 0: does not see /elsewhere.*day_0, or sees a different file\. Put the logs",
        ),
        (
            look_of_small,
            r"day_0, .*day_1, .*day_2 and 1 more: a day takes up to .*machine 0 has 20 MiB\. Lower --memory",
        ),
    ],
)
def test_a_machine_that_differs_is_named(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Any, message: str
) -> None:
    monkeypatch.setattr(machines, "look", look)
    with cluster_here(ClusterHere(2)), pytest.raises(ClusterError, match=message):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_does_not_answer(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = ClusterHere(2)
    monkeypatch.setattr(cluster, "wait", lambda tasks, timeout_s: [])
    with cluster_here(cluster), pytest.raises(ClusterError, match=r"^machine 0: did not answer within 60 s"):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")


def test_a_cluster_without_machines(raw: Path, tmp_path: Path) -> None:
    with cluster_here(ClusterHere(0)), pytest.raises(ClusterError, match=r"^The cluster has no machine"):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk_for_the_ranges_that_are_written_at_once(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2_600_000)  # One machine needs 2.3 MiB, and the output 1.1 MiB.
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with (
        cluster_here(ClusterHere(2)),
        pytest.raises(OutputError, match=r"of output, need 3[\d.]+ MiB, but the disk has"),
    ):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
    assert list(tmp_path.iterdir()) == []
    with cluster_here(ClusterHere(1)):
        preprocess(raw, tmp_path / "out", OPTIONS, cluster="anywhere")
