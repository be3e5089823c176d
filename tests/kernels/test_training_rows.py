"""Table rows in a native step: grouped, summed and updated, and read by halves."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch

from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.kernels.training.selection import level_in_use, levels
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from tests.support.native.native_steps import Trained, a_batch, gradients

pytestmark = pytest.mark.skipif(level_in_use("fp32") is None, reason="no native training here")

ONE = Rates(learning_rate=1.0)
SHAPE = Architecture((3, 70_000, 1000), 16, (13, 16), (8, 1), pooling=("sum", "mean", "sum"))


# Few and many lookups are sorted by different numbers of bits, and rows of the large table in two or three rounds.
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


@pytest.mark.parametrize("level", list(levels("fp32")))
@pytest.mark.parametrize("dim", [16, 77, 128])
def test_long_bags_are_pooled_and_trained(dim: int, level: int) -> None:
    shape = Architecture((3, 40, 5000), dim, (13, dim), (8, 1), pooling=("sum", "mean", "sum"))
    torch.manual_seed(2)
    model = DLRM(shape)
    # Samples are pooled in blocks, the last of them partial; a row of the 3-row table occurs about 17 times per bag.
    batch = a_batch(shape, 70, 1, multi_hot=True, longest=100)
    loss, expected = gradients(model, batch)
    _, of_torch = gradients(model, batch, dtype=torch.float32)
    trained = Trained(model, level=level)
    # With a limit, the gradients of a row are summed before the row changes.
    assert trained.step(batch, ONE, largest_value=1e30) == pytest.approx(loss, rel=1e-4)
    for before, after, gradient, torchs in zip(model.parameters(), trained.weights(), expected, of_torch, strict=True):
        # Sums of thousands of terms; the weights, up to 1, lose what is below 1e-7.
        error = (before.detach() - after - gradient).norm()
        assert float(error) < 4 * float((torchs - gradient).norm()) + 1e-7 * before.numel() ** 0.5


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "rwsadagrad"])
def test_tables_of_uneven_bags_are_shared_among_threads_without_another_result(rule: str) -> None:
    shape = Architecture((2, 4000, 9, 3, 50), 8, (13, 8), (8, 1))
    torch.manual_seed(2)
    model = DLRM(shape)
    whole = a_batch(shape, 90, 1, multi_hot=True, longest=60)
    assert whole.offsets is not None
    # Only tables 0 and 1 have long bags: they have most of the lookups, and many threads look up the same row.
    lengths = whole.offsets.diff().view(5, 90)
    kept = [
        column[: 90 if table > 1 else None] for table, column in enumerate(whole.indices.split(lengths.sum(1).tolist()))
    ]
    lengths[2:] = 1
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.flatten().cumsum(0)])
    batch = whole._replace(indices=torch.cat(kept), offsets=offsets)
    results = []
    for threads in (1, 2, 3, 7, 40):
        trained = Trained(model, table_rule=rule, dense_rule="adagrad" if rule != "sgd" else "sgd")  # type: ignore[arg-type]
        for limits in ({}, {"largest_value": 1e-3}, {"largest_norm": 1e-2}):
            trained.step(batch, Rates(0.1, 1e-8), threads=threads, **limits)
        results.append(trained.weights())
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_memory_of_lookups_does_not_grow_with_the_tables() -> None:
    shape = Architecture((50,) * 60, 1, (1, 1), (1,), interaction="cat")
    batch = a_batch(shape, 4000, 1, multi_hot=True)
    trained = Trained(DLRM(shape), table_rule="adagrad")
    before = resident_bytes()
    trained.step(batch, ONE)
    # 360,000 lookups, each sorted between two places of 24 bytes, plus some activations of 240,000 bags.
    assert resident_bytes() - before < 200e6


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


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
