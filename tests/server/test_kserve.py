"""KServe's published client works with the server, from its own environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.artifact.store import Artifact
from tests.support.commands import ROOT
from tests.support.server.artifacts import random_rows
from tests.support.server.calls import NAME
from tests.support.server.running import running

PYTHON = Path(sys.prefix, "kserve", "bin", "python")


# It imports pandas and gRPC, and takes half a gigabyte to install; Triton's client, which sends the same requests
# in both forms, is among the fast tests.
@pytest.mark.slow
def test_client_of_kserve(served_folder: Path, artifact: Artifact) -> None:
    assert PYTHON.exists(), "run `make kserve`, which makes the environment of this test"
    dense, ids = random_rows(50)
    dense = np.nan_to_num(dense)
    with running({NAME: served_folder}) as server:
        done = subprocess.run(
            [PYTHON, ROOT / "tests/support/server/kserve_program.py", f"http://127.0.0.1:{server.port}", NAME],
            input=json.dumps({"dense": dense.tolist(), "indices": ids.tolist()}),
            capture_output=True,
            text=True,
            timeout=250,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["live"], found["ready"], found["model_ready"], found["id"]) == (True, True, True, "7")
    assert "There is no model 'none'" in found["error"]
    for kind in ("json", "binary"):
        np.testing.assert_array_equal(np.array(found[kind], np.float32), artifact.predict((dense, ids)))
