"""Clipping sparse gradients equals clipping the same gradients in dense form."""

from typing import Literal

import pytest
import torch
from torch import nn

from dlrm_pl.model.training.gradients.clipping import clip_gradients


@pytest.mark.parametrize("by", ["norm", "value"])
@pytest.mark.parametrize("limit", [0.3, 100.0])
def test_sparse_gradients_are_clipped_as_dense_ones(by: Literal["norm", "value"], limit: float) -> None:
    def gradients(sparse: bool) -> list[nn.Parameter]:
        torch.manual_seed(0)
        table, linear, unused = nn.Embedding(6, 3, sparse=sparse), nn.Linear(3, 1), nn.Parameter(torch.ones(2))
        # Row 1 occurs twice: its gradients must be added before clipping.
        linear(table(torch.tensor([1, 4, 1]))).square().sum().backward()
        return [*table.parameters(), *linear.parameters(), unused]

    found, expected = gradients(sparse=True), gradients(sparse=False)
    clip_gradients(iter(found), limit, by)
    if by == "norm":
        nn.utils.clip_grad_norm_(expected, limit)
    else:
        nn.utils.clip_grad_value_(expected, limit)
    assert found[-1].grad is None
    for mine, theirs in zip(found[:-1], expected[:-1], strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(mine.grad.to_dense(), theirs.grad)
