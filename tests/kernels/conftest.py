"""Runs tests with each variant of the kernels, on two threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest
import torch

from dlrm_pl.kernels.int8.selection import ISAS, available, isa

# Variants of another architecture are not skipped here: test_aarch64.py runs them in an emulator.
OF_THIS_ARCHITECTURE = [name for name in ISAS if name.startswith("neon") <= (platform.machine() == "aarch64")]


@pytest.fixture(params=OF_THIS_ARCHITECTURE)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param not in available():
        pytest.skip(f"this machine has no {request.param}")
    monkeypatch.setenv("DLRM_PL_ISA", request.param)
    assert isa() == request.param
    return str(request.param)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
