"""Native libraries are found by names without a Python version, and by the names of earlier builds."""

from __future__ import annotations

import importlib.machinery
import shutil
from pathlib import Path

import pytest

import dlrm_pl.kernels
from dlrm_pl.kernels.hashing.library import VERSION
from dlrm_pl.kernels.library import load_built

NATIVE = Path(dlrm_pl.kernels.__file__).parent / "_hashing.so"
EARLIER = f"_hashing{importlib.machinery.EXTENSION_SUFFIXES[0]}"

pytestmark = pytest.mark.skipif(not NATIVE.is_file(), reason="the native code was not built")


def test_a_library_is_found_before_one_of_an_earlier_build(tmp_path: Path) -> None:
    (tmp_path / EARLIER).write_text("of other sources")
    shutil.copyfile(NATIVE, tmp_path / NATIVE.name)
    found = load_built("hashing", VERSION, tmp_path)
    assert found is not None
    assert found._name == str(tmp_path / NATIVE.name)


def test_a_library_of_an_earlier_build_is_found(tmp_path: Path) -> None:
    shutil.copyfile(NATIVE, tmp_path / EARLIER)
    assert load_built("hashing", VERSION, tmp_path) is not None


def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NATIVE.name).write_text("nothing")
    assert load_built("hashing", VERSION, tmp_path) is None
    assert f"{tmp_path / NATIVE.name}: " in caplog.text
    assert "using the slower fallback" in caplog.text
