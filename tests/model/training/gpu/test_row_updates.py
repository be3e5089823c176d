"""Rows updated in place, compared with torch's optimizers on dense gradients in double precision."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrm_pl.model.training.gpu.row_updates import adagrad, grouped, sgd
from tests.support.examples import examples


def problem(seed: int, lookups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a table, looked-up rows with duplicates, their gradients, and the gradient of the whole table."""
    rng = torch.Generator().manual_seed(seed)
    table = torch.randn(6, 4, generator=rng, dtype=torch.float64)
    rows = torch.randint(0, 6, (lookups,), generator=rng)
    gradients = torch.randn(lookups, 4, generator=rng, dtype=torch.float64)
    whole = torch.zeros_like(table)
    for row, gradient in zip(rows, gradients, strict=True):
        whole[row] += gradient
    return table, rows, gradients, whole


@settings(deadline=None, max_examples=examples(25))
@given(seed=st.integers(0, 999), lookups=st.integers(0, 20))
def test_sgd_is_torchs(seed: int, lookups: int) -> None:
    table, rows, gradients, whole = problem(seed, lookups)
    expected = table - 0.3 * whole
    sgd(table, rows, gradients, 0.3)
    torch.testing.assert_close(table, expected)


@settings(deadline=None, max_examples=examples(25))
@given(seed=st.integers(0, 999), lookups=st.integers(0, 20), epsilon=st.sampled_from([0.0, 1e-10, 0.1]))
def test_adagrad_is_torchs(seed: int, lookups: int, epsilon: float) -> None:
    table, rows, gradients, whole = problem(seed, lookups)
    parameter, sums = torch.nn.Parameter(table.clone()), torch.zeros_like(table)
    optimizer = torch.optim.Adagrad([parameter], lr=0.3, eps=max(epsilon, 1e-30))
    for _ in range(3):
        parameter.grad = whole
        optimizer.step()
        adagrad(table, sums, rows, gradients, 0.3, epsilon)
    torch.testing.assert_close(table, parameter.detach())
    torch.testing.assert_close(sums, optimizer.state[parameter]["sum"])


@settings(deadline=None, max_examples=examples(25))
@given(seed=st.integers(0, 999), lookups=st.integers(0, 20))
def test_row_wise_adagrad_follows_its_definition(seed: int, lookups: int) -> None:
    table, rows, gradients, whole = problem(seed, lookups)
    sums = torch.rand(6, dtype=torch.float64)
    wanted = sums + whole.square().mean(dim=1)
    expected = table - 0.3 * whole / (wanted.sqrt() + 1e-3)[:, None]
    adagrad(table, sums, rows, gradients, 0.3, 1e-3)
    torch.testing.assert_close(sums, wanted)
    torch.testing.assert_close(table, expected)


def test_equal_rows_are_grouped_and_the_length_stays() -> None:
    unique, sums = grouped(torch.tensor([5, 2, 5, 2, 7]), torch.arange(5.0)[:, None])
    assert unique.tolist() == [2, 5, 7, 0, 0]
    assert sums[:, 0].tolist() == [4.0, 2.0, 4.0, 0.0, 0.0]
