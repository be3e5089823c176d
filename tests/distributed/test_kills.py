"""torchrun restarts processes that are killed at random moments, and they train the same model."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from dlrm_pl.model.load import read_checkpoint
from tests.support.commands import ROOT
from tests.support.processes.sharded import needs_engine
from tests.support.processes.sharded_folders import same_contents

pytestmark = [pytest.mark.slow, needs_engine]

KILLS = 5
STEPS = 300


def _write_config(folder: Path, data: Path, nodes: int = 1) -> None:
    """Write the configuration of a training on two processes that saves every five steps and keeps three."""
    folder.mkdir()
    saving = {"dirpath": str(folder / "saved"), "filename": "{step}", "every_n_train_steps": 5, "save_top_k": 3}
    config = {
        "seed_everything": 1,
        "model": {"embedding_dim": 8, "bottom_mlp": [13, 16, 8], "top_mlp": [16, 1], "optimizer": "rwsadagrad"},
        "data": {"folder": str(data), "batch_size": 16, "shuffle": "none"},
        "trainer": {
            "accelerator": "cpu",
            "devices": 2 // nodes,
            "num_nodes": nodes,
            "max_steps": STEPS,
            "limit_val_batches": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "default_root_dir": str(folder),
            "strategy": {
                "class_path": "dlrm_pl.distributed.strategy.ShardedStrategy",
                "init_args": {"sharding": "row_wise", "timeout_s": 60},
            },
            "callbacks": [
                {
                    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
                    "init_args": saving | {"monitor": "step", "mode": "max", "save_last": True},
                }
            ],
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _start(folder: Path, data: Path) -> subprocess.Popen[bytes]:
    """Start a training with torchrun."""
    _write_config(folder, data)
    return _launch(folder, "--nproc_per_node", "2", "--master-addr", "127.0.0.1", "--master-port", str(_free_port()))


def _launch(folder: Path, *options: str, output: str = "output.txt") -> subprocess.Popen[bytes]:
    launch = ("-m", "torch.distributed.run", "--max-restarts", str(KILLS + 5), "--monitor-interval", "0.2")
    with (folder / output).open("wb") as output_file:
        return subprocess.Popen(
            [sys.executable, *launch, *options, str(ROOT / "cli.py"), "fit", "-c", str(folder / "config.yaml")],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=output_file,
            stderr=subprocess.STDOUT,
        )


def _children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split() if b"cli.py" in _command(int(child))]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _steps(folder: Path) -> int:
    """Return the number of steps in the newest checkpoint."""
    names = [path.name for path in (folder / "saved").glob("step=*.ckpt")] if (folder / "saved").is_dir() else []
    return max((int(name.removeprefix("step=").removesuffix(".ckpt")) for name in names), default=0)


@pytest.fixture(scope="module")
def undisturbed(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "undisturbed"
    assert _start(folder, synthetic_folder).wait(200) == 0
    return folder


@pytest.mark.parametrize("seed", range(4))
def test_killed_processes_train_the_same_model(
    undisturbed: Path, tmp_path: Path, synthetic_folder: Path, seed: int
) -> None:
    """Twenty kills in all."""
    folder, moments = tmp_path / "killed", random.Random(seed)
    training = _start(folder, synthetic_folder)
    try:
        killed = _kill(training, folder, moments)
        status = training.wait(200)
    finally:
        training.terminate()
        training.wait(60)
    output = (folder / "output.txt").read_text(errors="replace")
    assert status == 0, output[-5000:]
    assert killed == KILLS
    assert "restarted by torchrun: continuing from" in output
    names = {path.name for path in (folder / "saved").iterdir()}
    assert {"last.ckpt", f"step={STEPS}.ckpt"} <= names
    killed_end, end = (
        read_checkpoint(path / "saved" / f"step={STEPS}.ckpt", whole=True) for path in (folder, undisturbed)
    )
    for entry in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same_contents(killed_end[entry], end[entry]), entry


@pytest.mark.timeout(600)
def test_several_machines_go_on_together(undisturbed: Path, tmp_path: Path, synthetic_folder: Path) -> None:
    """One of two agents, which stand for two machines, sees its process die; the other only sees the restart."""
    folder = tmp_path / "machines"
    _write_config(folder, synthetic_folder, nodes=2)
    place = ("--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d", "--rdzv_id", "mine")
    place = (*place, "--rdzv_endpoint", f"127.0.0.1:{_free_port()}", "--local_addr", "127.0.0.1")
    agents = [_launch(folder, *place, output=f"output-{number}.txt") for number in range(2)]
    try:
        while _steps(folder) < 50:
            assert all(agent.poll() is None for agent in agents)
            time.sleep(0.05)
        os.kill(_children(agents[1].pid)[0], signal.SIGKILL)
        statuses = [agent.wait(250) for agent in agents]
    finally:
        for agent in agents:
            agent.terminate()
            agent.wait(60)
    outputs = [(folder / f"output-{number}.txt").read_text(errors="replace") for number in range(2)]
    assert statuses == [0, 0], "\n\n".join(text[-5000:] for text in outputs)
    assert any("restarted by torchrun: continuing from" in text for text in outputs)
    ends = [read_checkpoint(path / "saved" / f"step={STEPS}.ckpt", whole=True) for path in (folder, undisturbed)]
    assert same_contents(ends[0]["state_dict"], ends[1]["state_dict"])


def _kill(training: subprocess.Popen[bytes], folder: Path, moments: random.Random) -> int:
    """Kill a process of the training repeatedly at random moments; returns how often."""
    known: set[int] = set()
    killed = 0
    while killed < KILLS and training.poll() is None:
        processes = [child for child in _children(training.pid) if child not in known]
        if len(processes) < 2:
            time.sleep(0.05)
            continue
        # Often while processes start or resume from a checkpoint, often while they train or save; the last kills come
        # before the end.
        before, wait = _steps(folder), moments.random() * 4
        if moments.random() < 0.7:
            while training.poll() is None and _steps(folder) == before and before < STEPS - 10:
                time.sleep(0.01)
            wait = moments.random() * 0.5
        time.sleep(wait)
        known |= set(processes)
        os.kill(moments.choice(processes), signal.SIGKILL)
        killed += 1
    return killed
