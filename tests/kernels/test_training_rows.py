"""Rows of the tables in a native step: grouped, summed and updated, and read by halves."""

from __future__ import annotations

import copy

import pytest
import torch

from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.kernels.training.selection import level_in_use
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from tests.support.native.native_steps import Trained, a_batch, gradients

pytestmark = pytest.mark.skipif(level_in_use("fp32") is None, reason="no native training here")

ONE = Rates(learning_rate=1.0)
SHAPE = Architecture((3, 70_000, 1000), 16, (13, 16), (8, 1), pooling=("sum", "mean", "sum"))


# Few and many lookups are sorted by different numbers of bits, the rows of the large table in two or three rounds.
@pytest.mark.parametrize(("size", "multi_hot"), [(40, False), (1500, False), (40, True), (1200, True)])
def test_rows_are_summed_before_they_are_updated(size: int, multi_hot: bool) -> None:
    torch.manual_seed(2)
    model = DLRM(SHAPE)
    batch = a_batch(SHAPE, size, 1, multi_hot=multi_hot)
    _, expected = gradients(model, batch)
    largest = max(float(gradient.abs().max()) for gradient in expected) / 3
    trained = Trained(model)
    trained.step(batch, ONE, largest_value=largest)
    for before, after, gradient in zip(model.parameters(), trained.weights(), expected, strict=True):
        limited = gradient.clamp(-largest, largest).float()
        torch.testing.assert_close(before.detach() - after, limited, rtol=1e-4, atol=1e-6)
        if before.shape[0] == 70_000:
            untouched = gradient.abs().sum(1) == 0
            assert untouched.any()
            assert torch.equal(before[untouched], after[untouched])


@pytest.mark.parametrize("multi_hot", [False, True], ids=["one-hot", "multi-hot"])
def test_split_tables_are_read_by_their_upper_halves_and_changed_as_a_whole(multi_hot: bool) -> None:
    torch.manual_seed(2)
    model = DLRM(SHAPE)
    batch = a_batch(SHAPE, 50, 1, multi_hot=multi_hot)
    read = copy.deepcopy(model)
    for table in read.embedding_bags.weights():
        table.view(torch.int32).bitwise_and_(-65536)
    loss, expected = gradients(read, batch)
    trained = Trained(model, split_tables=True)
    assert trained.step(batch, ONE) == pytest.approx(loss, rel=2e-6)
    assert loss != pytest.approx(gradients(model, batch)[0], rel=2e-6)
    for before, after, gradient in zip(model.parameters(), trained.weights(), expected, strict=True):
        torch.testing.assert_close(before.detach() - after, gradient.float(), rtol=1e-4, atol=1e-6)
