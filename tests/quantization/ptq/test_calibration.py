"""Calibration: the sample of logits that it collects, and a torch without torch.ao."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

import dlrm_pl.quantization.ptq as room
from dlrm_pl.batch import first_samples
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.ptq.calibration import _SAMPLE_ROWS, ActivationRanges
from tests.support import tiny


def test_a_torch_without_torch_ao_is_named_with_the_versions_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(room, "torch_ao", raising=False)
    monkeypatch.delitem(sys.modules, "dlrm_pl.quantization.ptq.torch_ao", raising=False)
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(ConfigurationError, match=r"torch 2\.\S+ does not have\. Install .* \"torch>=2\.13,<2\.15\""):
        ActivationRanges(tiny.model(), [])


WIDE = replace(tiny.ARCHITECTURE, bottom_mlp=(13, 512, 256, 8), top_mlp=(12, 512, 256, 1))
CROSSED = replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=3, top_mlp=(32, 6, 1))


@pytest.mark.parametrize(
    "architecture", [tiny.ARCHITECTURE, WIDE, CROSSED, replace(tiny.ARCHITECTURE, loss_threshold=0.01)]
)
@pytest.mark.parametrize("rows", [64, 2048])
def test_the_sample_comes_with_the_calibration_to_the_bit(architecture: Architecture, rows: int) -> None:
    model = tiny.model(0, architecture)
    batches = [tiny.batches(1, rows, 1, architecture)[0], *tiny.batches(1, 64, 2, architecture)]
    empty = first_samples(batches[0], 0)
    expected = ActivationRanges(model, batches).sample()
    calls: list[object] = []
    model.register_forward_hook(lambda *call: calls.append(call))
    ranges = ActivationRanges(model, [empty, *batches])
    ranges.observed_by("minmax")
    batch, logits = ranges.sample()
    assert not calls
    assert batch is batches[0]
    assert logits.dtype == torch.float64
    assert logits.equal(expected[1])


def test_of_a_larger_batch_the_first_rows_are_the_sample() -> None:
    model, (batch,) = tiny.model(), tiny.batches(1, _SAMPLE_ROWS + 1)
    ranges = ActivationRanges(model, [batch])
    ranges.observed_by("minmax")
    sample, logits = ranges.sample()
    assert sample.num_samples == len(logits) == _SAMPLE_ROWS
    assert logits.equal(ActivationRanges(model, [batch]).sample()[1])
