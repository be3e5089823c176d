"""Runs on real local Ray clusters of one to three nodes write the same bytes as one machine, even if nodes are lost."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.data.preprocessing.cluster.ray_cluster import RayCluster
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import ClusterError, ConfigurationError
from tests.support.commands import ROOT
from tests.support.logs.raw_logs import contents, random_lines, write_days

pytestmark = [
    pytest.mark.untraced,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed, see the extra cluster"),
]

NOT_IMPORTED = "RuntimeError: The remote function failed to import on the worker."
OPTIONS = PreprocessOptions(memory_bytes=16 << 20, workers=1, subsample_rate=0.2, vocabulary="train_only", min_count=2)


class Nodes:
    """A cluster whose number of nodes changes."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        without: dict[str, Any] = {"no_monitor": True, "include_log_monitor": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=self._node() | without)
        self._others: list[Any] = []

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @staticmethod
    def _node() -> dict[str, Any]:
        return {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}

    def be(self, count: int) -> None:
        """Start or stop nodes."""
        while len(self._others) + 1 < count:
            self._others.append(self._cluster.add_node(**self._node(), wait=False))
        while len(self._others) + 1 > count:
            self.lose()
        self._cluster.wait_for_nodes()

    def lose(self) -> None:
        """Kill all processes of a node."""
        self._cluster.remove_node(self._others.pop(0), allow_graceful=False)

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    # With Python's parser a task takes long enough to be killed while it runs.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLRM_PL_ISA", "fallback")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Nodes()
    yield made
    made.close()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    days = [random_lines(rows, seed) for seed, rows in enumerate((2500, 1, 3000, 1501))]
    return write_days(tmp_path_factory.mktemp("raw"), days)


@pytest.fixture(scope="module")
def one_machine(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("one") / "out"
    preprocess(logs, folder, OPTIONS)
    return contents(folder)


def test_a_process_that_is_killed_while_it_does_all_of_a_run(
    nodes: Nodes, logs: Path, one_machine: dict[str, bytes], tmp_path: Path
) -> None:
    nodes.be(1)  # At the start: after adding nodes, Ray takes fifteen seconds to notice that they are gone.
    state = tmp_path / ".out.partial" / "state.json"
    killed: list[bytes] = []
    ended = threading.Event()

    def kill() -> None:
        while not (killed or ended.wait(0.01)):
            for folder in Path("/proc").glob("[0-9]*") if state.exists() else ():
                with suppress(OSError):
                    if (folder / "cmdline").read_bytes().startswith(b"ray::reading: log"):
                        os.kill(int(folder.name), signal.SIGKILL)
                        killed.append(state.read_bytes())

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        preprocess(logs, tmp_path / "out", replace(OPTIONS, checkpoint_bytes=100_000), cluster=nodes.address)
    finally:
        ended.set()
        killer.join()
    assert killed
    assert contents(tmp_path / "out") == one_machine
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow  # The tests that lose a process or a node check the same.
@pytest.mark.parametrize("count", [1, 2, 3])
def test_equals_one_machine(
    nodes: Nodes,
    logs: Path,
    one_machine: dict[str, bytes],
    tmp_path: Path,
    count: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    nodes.be(count)
    preprocess(logs, tmp_path / "out", OPTIONS, cluster=nodes.address)
    assert contents(tmp_path / "out") == one_machine
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert f"cluster: {count} machine" in caplog.text


def lose_a_node(nodes: Nodes, logs: Path, output: Path, stage: str, share: float) -> bool:
    """Run on three nodes and kill one when a stage has got that far; returns whether it did."""
    nodes.be(3)
    lost = False

    def watch(now: str, done: float, rows: int) -> None:
        nonlocal lost
        if not lost and now == stage and done >= share:
            lost = True
            nodes.lose()

    preprocess(logs, output, OPTIONS, cluster=nodes.address, progress=watch)
    return lost


@pytest.mark.slow
def test_a_node_that_is_lost_while_it_reads(
    nodes: Nodes, logs: Path, one_machine: dict[str, bytes], tmp_path: Path
) -> None:
    assert lose_a_node(nodes, logs, tmp_path / "out", "reading", 0.0)
    assert contents(tmp_path / "out") == one_machine
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_nodes_lost_at_random_moments(
    nodes: Nodes, logs: Path, one_machine: dict[str, bytes], tmp_path: Path
) -> None:
    draw, lost = random.Random(os.urandom(4)), 0
    for number in range(100):
        stage = draw.choice(("counting", "reading", "reading", "merging vocabularies", "writing"))
        lost += lose_a_node(nodes, logs, tmp_path / str(number), stage, draw.random() * 0.8)
        assert contents(tmp_path / str(number)) == one_machine
        if lost == 20:
            return
    pytest.fail(f"only {lost} nodes were lost in 100 runs")


def test_no_cluster_at_the_address(logs: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"--cluster 127.0.0.1:1: cannot be used .*refused.*`ray start`"):
        preprocess(logs, tmp_path / "out", OPTIONS, cluster="127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            lambda errors: errors.RayTaskError("call", f"{NOT_IMPORTED}\nNo module named 'dlrm_pl'", RuntimeError()),
            r"^the check of a: Ray's Python on that machine cannot import dlrm-pl \(No module named 'dlrm_pl'\)\. Inst",
        ),
        (
            lambda errors: errors.WorkerCrashedError(),
            r"^the check of a: was lost with its machine or process.*WorkerCrashedError: The worker died",
        ),
    ],
    ids=["no program", "lost"],
)
def test_a_task_without_a_result(error: Any, message: str) -> None:
    import ray

    class Failing:
        exceptions = ray.exceptions

        def remote(self, function: Any) -> None: ...

        def get(self, task: Any) -> None:
            raise error(ray.exceptions)

    with pytest.raises(ClusterError, match=message):
        RayCluster(Failing()).outcome(None, "the check of a")


def test_without_ray_the_extra_is_named(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r'--cluster local needs Ray.*pip install "dlrm-pl\[cluster\]"'):
        preprocess(logs, tmp_path / "out", OPTIONS, cluster="local")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_stops_a_local_cluster(tmp_path: Path) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(2000, 0) * 20, random_lines(2000, 1) * 20])
    command = [sys.executable, str(ROOT / "cli.py"), "preprocess", "--raw", str(raw), "--output", str(tmp_path / "out")]
    with subprocess.Popen(
        [*command, "--cluster", "local", "--threads", "1"],
        env=os.environ | {"DLRM_PL_ISA": "fallback"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline().startswith("plan: ")
        assert child.stderr.readline().startswith("cluster: 1 machine, ")
        while not (tmp_path / ".out.partial").exists():
            assert child.poll() is None
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGINT)  # As a terminal does.
        rest = child.communicate(timeout=60)[1]
    assert child.returncode == 130, rest
    # Whether a task had ended by then depends on the machine.
    assert "Nothing is kept: " in rest or "run the same command to resume" in rest
    assert "Traceback" not in rest
    assert not list(tmp_path.rglob("*.attempt"))
    assert {path.name for path in tmp_path.iterdir()} <= {"raw", ".out.partial"}
