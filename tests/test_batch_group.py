"""Batches that are read together equal those read alone, as views and by their addresses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.batch_group import BatchGroup
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.resumable_loader import ClickLoader
from dlrm_pl.data.loading.sampling import EpochSampler
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from tests.support.native.engines import needs_native
from tests.support.native.native_steps import Trained, a_batch

SHAPE = Architecture((30, 4, 1000), 16, (13, 40, 16), (50, 33, 1))


def joined(batches: list[ClickBatch]) -> BatchGroup:
    """Concatenate batches into a group."""
    parts = [[value for value in values if value is not None] for values in zip(*batches, strict=True)]
    dense, indices, offsets, labels = ([value.reshape(-1) for value in values] for values in parts)
    bags = torch.cat(offsets) if offsets else None
    ids = (
        3
        if bags is None
        else max(-(-len(one) // batch.num_samples) for one, batch in zip(indices, batches, strict=True))
    )
    room = torch.zeros(sum(batch.num_samples for batch in batches) * ids, dtype=torch.int64)
    first = 0
    for one, batch in zip(indices, batches, strict=True):
        room[first : first + len(one)] = one
        first += batch.num_samples * ids
    return BatchGroup.of(
        (torch.cat(dense).view(-1, 13), room, bags, torch.cat(labels)),
        np.array([batch.num_samples for batch in batches]),
        num_tables=3,
        ids=ids,
        lookups=np.array([len(one) for one in indices]),
    )


def made(multi_hot: bool) -> list[ClickBatch]:
    return [a_batch(SHAPE, size, seed, multi_hot=multi_hot) for seed, size in enumerate([37, 1, 128, 16])]


def same(ours: ClickBatch, theirs: ClickBatch) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


@pytest.mark.parametrize("multi_hot", [False, True], ids=["one-hot", "multi-hot"])
def test_batches_of_a_group_are_those_that_were_joined(multi_hot: bool) -> None:
    batches = made(multi_hot)
    group = joined(batches)
    assert all(same(a, b) for a, b in zip(group, batches, strict=True))
    part = group[1:][:2]
    assert len(part) == 2
    assert part.num_samples == 129
    assert same(part[-1], batches[2])
    assert group[4:].num_samples == 0


@needs_native
@pytest.mark.parametrize("multi_hot", [False, True], ids=["one-hot", "multi-hot"])
def test_addresses_of_a_group_are_those_of_its_batches(multi_hot: bool) -> None:
    group, native = joined(made(multi_hot)), Trained(DLRM(SHAPE)).native
    for part in (group, group[2:], group[1:3]):
        alone = [native.packed(one.dense, one.indices, one.offsets, one.known_labels) for one in part]
        assert native.packed_group(part) == b"".join(alone)


@needs_native
def test_group_that_does_not_fit_the_model_is_left_to_the_usual_checks() -> None:
    group = joined(made(multi_hot=False))
    assert Trained(DLRM(Architecture((30, 4), 16, (13, 16), (1,)))).native.packed_group(group) is None
    assert Trained(DLRM(Architecture((30, 4, 9), 16, (12, 16), (1,)))).native.packed_group(group) is None
    two = np.array([5, 0])
    some = a_batch(SHAPE, 5, 1)
    tensors = (some.dense, some.indices.reshape(-1), None, some.known_labels)
    with_empty = BatchGroup.of(tensors, two, num_tables=3, ids=3, lookups=3 * two)
    assert Trained(DLRM(SHAPE)).native.packed_group(with_empty) is None
    assert Trained(DLRM(SHAPE)).native.packed_group(with_empty[:1]) is not None


@pytest.mark.parametrize("shuffle", ["batch", "row"])
def test_loader_hands_out_the_same_batches_one_by_one_and_together(shuffle: str, synthetic_folder: Path) -> None:
    rows = ClickDataset.of_split(DatasetFolder.open(synthetic_folder), "train")
    one, many = (ClickLoader(rows, EpochSampler(len(rows), 100, shuffle, seed=3)) for _ in range(2))  # type: ignore[arg-type]
    single, together, found = iter(one), iter(many), 0
    counts = [1, 5, 2, 64, 1, 3] * 99
    while found < len(one):
        batches = together.take(counts.pop(0))
        assert all(same(batch, next(single)) for batch in batches)
        found += len(batches)
        assert many.state_dict() == one.state_dict()
        assert many.waiting.rows == one.waiting.rows
    with pytest.raises(StopIteration):
        together.take(3)
