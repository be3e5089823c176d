"""The fuzzer of native code runs, and finds differences. ``make fuzz`` runs it for longer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.data.lookup.fallback import PythonStringTable
from dlrm_pl.data.preprocessing.engine.numpy_engine import NumPyEngine
from dlrm_pl.kernels.int8.fallback import FallbackKernels
from dlrm_pl.kernels.int8.selection import available
from tests.fuzz import int8, lookup, preprocessing, training
from tests.fuzz.outcome import Rng

pytestmark = pytest.mark.skipif("generic" not in available(), reason="the native code was not built")

ROOT = Path(__file__).parents[1]


def rounds(target: Callable[[Rng], None], count: int) -> None:
    for number in range(count):
        target(np.random.default_rng([2, number]))


@pytest.mark.parametrize(
    "target",
    int8.TARGETS + preprocessing.TARGETS + lookup.TARGETS + training.TARGETS,
    ids=lambda target: target.__name__,
)
def test_native_code_agrees_with_its_fallback(target: Callable[[Rng], None]) -> None:
    rounds(target, 4)


def test_a_fallback_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumPyEngine, "records", lambda self, columns, rows, out: None)
    with pytest.raises(AssertionError):
        rounds(preprocessing.buckets, 12)
    monkeypatch.setattr(PythonStringTable, "__len__", lambda self: 0)
    with pytest.raises(AssertionError):
        rounds(lookup.string_tables, 12)
    monkeypatch.setattr(FallbackKernels, "pack", lambda self, values, dtype, out: out.zero_()[:0].tolist() or None)
    with pytest.raises(AssertionError):
        rounds(int8.packing, 12)


def test_without_a_compiler_it_says_that_it_is_skipped() -> None:
    environment = os.environ | {"CXX": "no-such-compiler", "BIN": str(Path(sys.executable).parent)}
    command = [str(ROOT / "tests/fuzz/sanitized.sh"), "false"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0
    assert "SKIPPED, since no-such-compiler has no libasan.so here" in ended.stdout


LIE = """
import numpy as np
from dlrm_pl.data.preprocessing.engine.library import library

def test_it():
    columns, records = np.zeros((40, 4), np.int32), np.zeros(100, np.uint8)
    library().dlrm_records(columns.ctypes.data, 40, 4, 4, records.ctypes.data)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arguments", [["-P", "-c", f"{LIE}\ntest_it()"], ["-m", "pytest"]], ids=["fuzz", "pytest"])
def test_a_write_behind_an_array_is_seen(arguments: list[str], tmp_path: Path) -> None:
    """The sanitizers are active: a call that lies about its memory ends with their report."""
    environment = os.environ | {"BIN": str(Path(sys.executable).parent)}
    command = [str(ROOT / "tests/fuzz/sanitized.sh"), sys.executable, *arguments]
    if "pytest" in arguments:
        (tmp_path / "test_lie.py").write_text(LIE)
        command += ["-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "-s", str(tmp_path / "test_lie.py")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    if "SKIPPED" in ended.stdout:
        pytest.skip("no g++ with its sanitizers")
    assert ended.returncode != 0
    assert "heap-buffer-overflow" in ended.stderr
