"""Vectors in the order of the processes are put into the order of the tables, and their gradients back."""

from __future__ import annotations

import torch

from dlrm_pl.distributed.key_jagged import reordered


def test_reordering_and_its_gradient_are_those_of_indexing() -> None:
    torch.manual_seed(0)
    values = torch.randn(3, 5, 2, requires_grad=True)
    order = torch.tensor([3, 0, 4, 1, 2])
    gradient = torch.randn(3, 5, 2)
    reordered(values, order).backward(gradient)  # type: ignore[no-untyped-call]
    found, values.grad = values.grad, None
    expected = values[:, order]
    expected.backward(gradient)  # type: ignore[no-untyped-call]
    assert found is not None
    assert torch.equal(found, values.grad)  # type: ignore[arg-type]
    assert torch.equal(reordered(values, order), expected)
