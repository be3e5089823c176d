"""A model is taken apart into tensors and ops, and reassembled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dlrm_pl.artifact.tensors import from_tensors, to_tensors
from dlrm_pl.errors import ArtifactError
from dlrm_pl.model.architecture import Architecture
from tests.support import tiny
from tests.support.quantization.int8_models import lowered

CROSSED = replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=5)


@pytest.mark.parametrize("architecture", [tiny.ARCHITECTURE, CROSSED], ids=["dot", "dcn"])
@pytest.mark.parametrize("linears", ["int8", "bf16"])
def test_a_model_and_its_parts_score_alike(architecture: Architecture, linears: str) -> None:
    model, batch = lowered(architecture, linears=linears), tiny.bags(1, 70, 3, architecture)[0]
    tensors, ops = to_tensors(model)
    again = from_tensors(architecture, ops, tensors, model.tables.all())
    assert torch.equal(again(batch), model(batch))
    assert again.op_dtypes == model.op_dtypes


def test_ops_of_another_architecture_are_refused() -> None:
    model = lowered(CROSSED)
    tensors, ops = to_tensors(model)
    dot = replace(CROSSED, interaction="cat", cross_layers=0, cross_rank=0)
    with pytest.raises(ArtifactError, match=r"has the op 'cross_net.0.v', but .* interaction='cat', has no such op"):
        from_tensors(dot, ops, tensors, model.tables.all())
    with pytest.raises(ArtifactError, match=r"'cross_net.2.v' is missing from the artifact"):
        from_tensors(replace(CROSSED, cross_layers=3), ops, tensors, model.tables.all())
    with pytest.raises(
        ArtifactError, match=r"cross_net.0.v: the manifest states shape \[6, 32\], but the weights have \[5, 32\]"
    ):
        from_tensors(replace(CROSSED, cross_rank=6), ops, tensors, model.tables.all())
