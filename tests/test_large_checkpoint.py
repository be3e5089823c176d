"""The benchmark of large checkpoints, at 200 MB and with 128 MiB of memory beyond what the libraries take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.processes.forked import Forked

pytestmark = pytest.mark.long

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

_SETUP = """
import os, resource, sys
from pathlib import Path
import torch, yaml
sys.path.insert(0, sys.argv[1])
import large_checkpoint as large
from dlrm_pl.cli.main import main

torch.set_num_threads(1)
large.ROWS = {"train": 100, "val": 3000, "test": 2000}
folder, kind = Path(sys.argv[2]), sys.argv[3]
checkpoint, artifact, data = (str(folder / name) for name in ("model.ckpt", "artifact", "data"))

def limit_memory(mapped=0):
    # The libraries' own is taken by now. Maps may be written to, and so count beside what is.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    limit = 1024 * int(status["VmData"].split()[0]) + (128 << 20) + mapped
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

def size_of(path):
    return sum(file.stat().st_size for file in Path(path).rglob("*")) if os.path.isdir(path) else os.stat(path).st_size
"""

_MAKE = """
architecture = large.architecture_of(200e6)
large.write_upstream(folder / "upstream.pt", architecture, kind, sparse=False)
large.write_dataset(folder / "data", architecture.table_sizes)
"""

_IMPORT = """
import dlrm_pl.cli.commands.import_checkpoint, dlrm_pl.model.upstream.importing
limit_memory()
assert main(["import-checkpoint", "--upstream", str(folder / "upstream.pt"), "--output", checkpoint,
             "--counts", data + "/day_fea_count.npz"]) == 0
"""

_LABEL = """
large.label(folder / "data", large.load_dlrm(Path(checkpoint)))
config = {"seed_everything": 1, "data": {"folder": data, "eval_batch_size": 100},
          "trainer": {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}}
(folder / "config.yaml").write_text(yaml.safe_dump(config))
"""

_SHARD = """
from tests.support.processes.sharded_folders import write_sharded
limit_memory()
write_sharded(Path(checkpoint), folder / "sharded.ckpt", ranks=3)
os.unlink(checkpoint)
"""

_MERGE = """
import dlrm_pl.cli.commands.merge_checkpoint, dlrm_pl.model.checkpoints.sharded.merging
limit_memory()
assert main(["merge-checkpoint", str(folder / "sharded.ckpt"), "--output", str(folder / "merged.ckpt")]) == 0
"""

_QUANTIZE = """
import dlrm_pl.cli.trainer.running, dlrm_pl.artifact.verification.verify, dlrm_pl.artifact.report.page, numpy
numpy.linalg.inv(numpy.eye(3))  # What plots are placed by; the library takes its buffers at the first call.
limit_memory(size_of(checkpoint) * 3 // 2)  # And its tables in int8, of the search and of the artifact.
assert main(["quantize", "-c", str(folder / "config.yaml"), "--ckpt_path", checkpoint, "--output", artifact,
             "--relative", "0.05"]) == 0
"""

_VERIFY = """
import dlrm_pl.cli.commands.verify, dlrm_pl.artifact.verification.verify
limit_memory(size_of(checkpoint) * 3 // 2)
assert main(["verify", "--artifact", artifact, "--data", data, "--ckpt_path", checkpoint]) == 0
"""


def failure(steps: Sequence[str], folder: Path, kind: str = "zip") -> str:
    """Run each step in its own process until one fails; returns that one's stderr."""
    for step in steps:
        program = Forked(_SETUP + step, [BENCHMARKS, folder, kind])
        if program.wait(timeout=250):
            return program.errors()
    return ""


@pytest.mark.slow
def test_legacy_checkpoint_larger_than_the_memory_is_imported(tmp_path: Path) -> None:
    assert not failure([_MAKE, _IMPORT], tmp_path, "legacy")
    assert (tmp_path / "model.ckpt").stat().st_size > 200e6


@pytest.mark.slow
def test_checkpoint_larger_than_the_memory_is_imported_quantized_and_verified(tmp_path: Path) -> None:
    assert not failure([_MAKE, _IMPORT, _LABEL, _QUANTIZE, _VERIFY], tmp_path)
    certificate = json.loads((tmp_path / "artifact" / "certificate.json").read_text())
    assert certificate["accepted"]
    assert certificate["rows"] == 2000
    assert 0.7 < certificate["fp32"]["auroc"] < 0.99


@pytest.mark.slow
def test_sharded_checkpoint_larger_than_the_memory_is_merged_quantized_and_verified(tmp_path: Path) -> None:
    of_folder = 'checkpoint = str(folder / "sharded.ckpt")\n'
    labelled = [_MAKE, _IMPORT, _LABEL, _SHARD]
    assert not failure([*labelled, _MERGE, of_folder + _QUANTIZE, of_folder + _VERIFY], tmp_path)
    assert (tmp_path / "merged.ckpt").stat().st_size > 200e6
    certificate = json.loads((tmp_path / "artifact" / "certificate.json").read_text())
    assert certificate["accepted"]
    assert certificate["rows"] == 2000


def test_the_limit_is_one_that_a_copy_of_the_tables_would_pass(tmp_path: Path) -> None:
    """The tests above would be meaningless if the system did not enforce its limits."""
    assert "allocate memory" in failure(["limit_memory(); torch.ones(200_000_000 // 4)"], tmp_path)
