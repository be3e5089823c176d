"""Calibration where torch.ao is not there."""

from __future__ import annotations

import sys

import pytest

import dlrm_pl.quantization.ptq as room
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from tests.support import tiny


def test_a_torch_without_torch_ao_is_named_with_the_versions_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(room, "torch_ao", raising=False)
    monkeypatch.delitem(sys.modules, "dlrm_pl.quantization.ptq.torch_ao", raising=False)
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(ConfigurationError, match=r"torch 2\.\S+ does not have\. Install .* \"torch>=2\.13,<2\.15\""):
        ActivationRanges(tiny.model(), [])
