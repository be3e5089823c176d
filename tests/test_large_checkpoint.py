"""The benchmark of large checkpoints, at 200 MB and with 128 MiB of memory beyond what the libraries take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

_SETUP = """
import os, resource, sys, traceback
from pathlib import Path
import torch, yaml
sys.path.insert(0, sys.argv[1])
import large_checkpoint as large
from dlrm_pl.cli.main import main

folder = Path(sys.argv[2])
torch.set_num_threads(1)
large.ROWS = {"train": 100, "val": 3000, "test": 2000}
checkpoint, artifact, data = (str(folder / name) for name in ("model.ckpt", "artifact", "data"))

def limit_memory(mapped=0):
    # The libraries' own is taken by now. Maps may be written to, and so count beside what is.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    limit = 1024 * int(status["VmData"].split()[0]) + (128 << 20) + mapped
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
"""

_MAKE = """
architecture = large.architecture_of(200e6)
large.write_upstream(folder / "upstream.pt", architecture, sys.argv[3], sparse=False)
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

_QUANTIZE = """
import dlrm_pl.cli.lightning_cli, dlrm_pl.artifact.verification.verify, dlrm_pl.artifact.report.page, numpy
numpy.linalg.inv(numpy.eye(3))  # What plots are placed by; the library takes its buffers at the first call.
limit_memory(os.stat(checkpoint).st_size * 3 // 2)  # And its tables in int8, of the search and of the artifact.
assert main(["quantize", "-c", str(folder / "config.yaml"), "--ckpt_path", checkpoint, "--output", artifact,
             "--relative", "0.05"]) == 0
"""

_VERIFY = """
import dlrm_pl.cli.commands.verify, dlrm_pl.artifact.verification.verify
limit_memory(os.stat(checkpoint).st_size * 3 // 2)
assert main(["verify", "--artifact", artifact, "--data", data, "--ckpt_path", checkpoint]) == 0
"""


_IN_A_CHILD = """
def in_a_child(step):
    # Of a process that has done nothing but import, which takes longer than all steps together.
    child = os.fork()
    if not child:
        status = 1
        try:
            exec(step, globals())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("failed: " + step)
"""


def run(steps: Sequence[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Each step in a process of its own, one after the other."""
    program = _SETUP + _IN_A_CHILD + "".join(f"in_a_child({step!r})\n" for step in steps)
    command = [sys.executable, "-c", program, BENCHMARKS, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)


def succeed(steps: Sequence[str], *arguments: object) -> None:
    ended = run(steps, *arguments)
    assert ended.returncode == 0, ended.stderr


def test_legacy_checkpoint_larger_than_the_memory_is_imported(tmp_path: Path) -> None:
    succeed([_MAKE, _IMPORT], tmp_path, "legacy")
    assert (tmp_path / "model.ckpt").stat().st_size > 200e6


def test_checkpoint_larger_than_the_memory_is_imported_quantized_and_verified(tmp_path: Path) -> None:
    succeed([_MAKE, _IMPORT, _LABEL, _QUANTIZE, _VERIFY], tmp_path, "zip")
    certificate = json.loads((tmp_path / "artifact" / "certificate.json").read_text())
    assert certificate["accepted"]
    assert certificate["rows"] == 2000
    assert 0.7 < certificate["fp32"]["auroc"] < 0.99


def test_the_limit_is_one_that_a_copy_of_the_tables_would_pass(tmp_path: Path) -> None:
    """What the tests above would miss if the system did not keep its limits."""
    ended = run(["limit_memory(); torch.ones(200_000_000 // 4)"], tmp_path)
    assert ended.returncode != 0
    assert "allocate memory" in ended.stderr
