"""An error of one of two processes stops both, and the message names it."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from dlrm_pl.model.load import read_checkpoint
from tests.support.processes.sharded import SHARDED_TRAINING, end_sharded, needs_engine, start_sharded
from tests.support.processes.sharded_cases import write_one_hot

pytestmark = [pytest.mark.long, needs_engine, pytest.mark.filterwarnings("ignore::UserWarning")]

_SCRIPT = """
import dataclasses, os, resource, signal
import pytorch_lightning as pl
from dlrm_pl.errors import DLRMError

rank = int(os.environ["RANK"])

def fails(name, **options):
    try:
        train(32, {"sharding": "row_wise", "timeout_s": 60}, options.pop("data", DATA), 9, **options)
        message = "nothing was wrong"
    except DLRMError as error:
        message = f"{type(error).__name__}: {error}"
    (folder / f"{name}-{rank}.txt").write_text(message)

fails("option", learning_rate=0.1 if rank else 0.2)
fails("data", data=OTHER_DATA if rank else DATA)

import dlrm_pl.distributed.processes.agreement as agreement
version = agreement.version
agreement.version = lambda name: "9.9" if rank and name == "torch" else version(name)
fails("version")
agreement.version = version

def saved(name):
    return ModelCheckpoint(folder / name, filename="{step}", every_n_train_steps=4, save_top_k=-1)

class SmallDisk(pl.Callback):
    # From step 6 on, this process cannot write files of more than a kilobyte.
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if rank == 1 and trainer.global_step == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))

for name, is_asynchronous in (("disk", False), ("disk-meanwhile", True)):
    fails(name, callbacks=[saved(name), SmallDisk()], asynchronous=is_asynchronous)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

class NaN(pl.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if trainer.global_step == 4 and rank == 1:
            module.model.embedding_bags.parts()[5].values[2, 3] = torch.nan

fails("nan", callbacks=[saved("nan"), NaN()])

def first(action):
    torch.distributed.barrier()
    if rank == 0:
        action()
    torch.distributed.barrier()

path = folder / "disk" / "step=4.ckpt"
fails("other", ckpt_path=path, data=OTHER_DATA)
first(lambda: (path / "part-1.pt").rename(folder / "part-1.pt"))
fails("missing", ckpt_path=path)
first(lambda: (folder / "part-1.pt").rename(path / "part-1.pt"))

class Killed(pl.Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if rank == 1 and trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

fails("killed", callbacks=[saved("killed"), Killed()])
"""


@dataclass(frozen=True)
class Ended:
    """Two processes that have ended."""

    folder: Path
    statuses: list[int]
    seconds: float
    killed: int

    def message(self, name: str, rank: int = 0) -> str:
        return (self.folder / f"{name}-{rank}.txt").read_text()


@pytest.fixture(scope="module")
def ended(few_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("failures")
    other = write_one_hot(tmp_path_factory.mktemp("other") / "dataset", more_rows=1)
    names = f"DATA, OTHER_DATA = {str(few_tables)!r}, {str(other)!r}\n"
    processes = start_sharded(SHARDED_TRAINING + names + _SCRIPT, folder)
    processes[1].wait(250)
    start = time.monotonic()
    results = end_sharded(processes)
    assert results[0][0] == 0, results[0][1][-3000:]
    return Ended(folder, [status for status, _ in results], time.monotonic() - start, processes[1].pid)


def _same(ended: Ended, name: str) -> str:
    """Check that both processes give the same message."""
    assert ended.message(name) == ended.message(name, 1)
    return ended.message(name)


def test_other_option_on_a_process_is_named(ended: Ended) -> None:
    expected = (
        r"ConfigurationError: The processes do not agree: model\.learning_rate is 0\.1 on rank 1 \(.*\), but 0\.2 on"
    )
    assert re.match(expected, _same(ended, "option"))


def test_other_data_on_a_process_is_named(ended: Ended) -> None:
    expected = r"ConfigurationError: The processes do not agree: the fingerprint of the dataset is '?\w+'? on rank 1 \("
    assert re.match(expected, _same(ended, "data"))


def test_other_version_on_a_process_is_named(ended: Ended) -> None:
    expected = r"ConfigurationError: The processes do not agree: the version of torch is 9\.9 on rank 1 \(.*\), but 2\."
    assert re.match(expected, _same(ended, "version"))


@pytest.mark.parametrize("name", ["disk", "disk-meanwhile"])
def test_full_disk_on_one_process_stops_all_and_keeps_the_checkpoint_before(ended: Ended, name: str) -> None:
    expected = rf"OutputError: rank 1: .*{name}/step=8\.ckpt: was not written: File too large on "
    assert re.match(expected, _same(ended, name))
    assert [path.name for path in (ended.folder / name).iterdir()] == ["step=4.ckpt"]
    assert read_checkpoint(ended.folder / name / "step=4.ckpt", whole=True)["global_step"] == 4


def test_weight_that_is_not_finite_is_not_saved(ended: Ended) -> None:
    assert re.match(
        r"NonFiniteError: rank 1: .*/step=4\.ckpt: was not written, because table \d+ is", _same(ended, "nan")
    )
    assert list((ended.folder / "nan").iterdir()) == []


def test_checkpoint_of_another_dataset_is_refused(ended: Ended) -> None:
    expected = r"CheckpointError: Column C1 has rows=100 in the checkpoint, but 101 in the dataset\."
    assert re.match(expected, _same(ended, "other"))


def test_missing_file_is_named_by_all(ended: Ended) -> None:
    assert re.match(
        r"CheckpointError: rank 0 \(also on rank 1\): .*step=4\.ckpt: part-1\.pt, a file of",
        _same(ended, "missing"),
    )


def test_killed_process_is_named_by_the_other_which_stops(ended: Ended) -> None:
    assert ended.statuses == [0, -9]  # The first process has caught the error.
    place = f"process {ended.killed} on {socket.gethostname()}"
    assert ended.message("killed").startswith(
        f"ProcessError: rank 0 stops: training needs all processes, but lost rank 1 ({place} has ended). "
    )
    assert ended.seconds < 30
    assert [path.name for path in (ended.folder / "killed").iterdir()] == ["step=4.ckpt"]
