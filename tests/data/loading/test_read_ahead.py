"""Batches that a thread reads ahead are the same, in the same order, with errors at the right place."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.read_ahead import BatchSource, Waiting, read_ahead
from dlrm_pl.data.loading.resumable_loader import ClickLoader
from dlrm_pl.data.loading.sampling import EpochSampler, Selection, Shuffle
from dlrm_pl.errors import DataFormatError


class Source:
    """Batches labelled with their first row; records which were read together."""

    def __init__(self, fault: int = -1) -> None:
        self.fault = fault
        self.groups: list[int] = []

    def read(self, selections: Sequence[Selection]) -> list[ClickBatch]:
        self.groups.append(len(selections))
        batches = []
        for selection in selections:
            assert isinstance(selection, slice)
            if selection.start <= self.fault < selection.stop:
                raise DataFormatError(f"row {self.fault}")
            empty = torch.zeros(selection.stop - selection.start, 1)
            batches.append(ClickBatch(empty, empty.long(), None, torch.tensor([float(selection.start)])))
        return batches

    def stream(self, selections: Iterator[Selection], waiting: Waiting | None = None) -> Iterator[ClickBatch]:
        return read_ahead(BatchSource(self.read, lambda _: None, 32), selections, waiting or Waiting())


def starts(batches: Iterator[ClickBatch]) -> Iterator[int]:
    return (int(batch.known_labels) for batch in batches)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 100])
def test_each_selection_gives_its_batch(count: int) -> None:
    source, waiting = Source(), Waiting()
    found = starts(source.stream((slice(2 * n, 2 * n + 2) for n in range(count)), waiting))
    assert list(found) == list(range(0, 2 * count, 2))
    assert waiting.rows == 2 * count
    assert [*source.groups, 0][0] <= 1  # So that the first batch arrives soon.
    assert max([*source.groups, 0]) <= 16  # At most 32 rows.


@pytest.mark.parametrize("fault", [0, 1, 9, 33, 199])
def test_error_comes_after_the_batches_before_it(fault: int) -> None:
    found = []
    with pytest.raises(DataFormatError, match=f"row {fault}"):
        for start in starts(Source(fault).stream(slice(n, n + 1) for n in range(200))):
            found.append(start)
    assert found == list(range(fault))


def test_reading_is_bounded_and_ends_with_the_iterator() -> None:
    drawn = []

    def endless() -> Iterator[Selection]:
        for n in itertools.count():
            drawn.append(n)
            yield slice(n, n + 16)

    batches = Source().stream(endless())
    assert [int(start) for start in itertools.islice(starts(batches), 5)] == [0, 1, 2, 3, 4]
    batches.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name.startswith("dlrm-read-ahead"):
            thread.join(10)
            assert not thread.is_alive()
    assert len(drawn) < 40


def test_a_large_batch_is_read_alone() -> None:
    source = Source()
    assert len(list(source.stream(iter([slice(0, 100)] * 5)))) == 5
    assert source.groups == [1] * 5


def test_time_of_a_slow_reader_is_counted() -> None:
    source, waiting = Source(), Waiting()
    read = source.read

    def slow(selections: Sequence[Selection]) -> list[ClickBatch]:
        threading.Event().wait(0.05)
        return read(selections)

    source.read = slow  # type: ignore[method-assign]
    assert len(list(source.stream(iter([slice(0, 40)] * 4), waiting))) == 4
    assert waiting.seconds > 0.15


@pytest.mark.parametrize("waits", [False, True])
def test_kernel_prefetches_many_small_batches_only_after_a_wait_for_the_disk(
    waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = itertools.count()
    monkeypatch.setattr("dlrm_pl.data.loading.read_ahead._faults", lambda: next(faults) if waits else 0)
    source, asked = Source(), list[int]()
    read = BatchSource(source.read, lambda selections: asked.append(len(selections)), 32)
    assert len(list(read_ahead(read, (slice(n, n + 2) for n in range(0, 200, 2)), Waiting()))) == 100
    assert source.groups[:5] == [1, 2, 4, 8, 16]
    assert asked == (source.groups[1:] if waits else [2, 4, 8, source.groups[-1]])


def rows_of(folder: Path, split: str = "train") -> ClickDataset:
    return ClickDataset.of_split(DatasetFolder.open(folder), split)  # type: ignore[arg-type]


@pytest.mark.parametrize("isa", ["fallback", ""])
@pytest.mark.parametrize("shuffle", ["none", "batch", "row"])
def test_loader_gives_what_the_dataset_gives(
    synthetic_folder: Path, shuffle: Shuffle, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", isa)
    rows = rows_of(synthetic_folder)
    loader = ClickLoader(rows, EpochSampler(len(rows), 300, shuffle, seed=5))
    expected = [rows[selection] for selection in EpochSampler(len(rows), 300, shuffle, seed=5)]
    for got, wanted in zip(loader, expected, strict=True):
        for name in ("dense", "indices", "labels"):
            assert getattr(got, name).numpy().tobytes() == getattr(wanted, name).numpy().tobytes()
    assert loader.waiting.rows == len(rows)


def test_state_counts_what_was_handed_out(synthetic_folder: Path) -> None:
    rows = rows_of(synthetic_folder)
    loader = ClickLoader(rows, EpochSampler(len(rows), 100, "row"))
    taken = list(itertools.islice(loader, 7))
    assert loader.state_dict() == {"batches": 7}
    resumed = ClickLoader(rows, EpochSampler(len(rows), 100, "row"))
    resumed.load_state_dict({"batches": 7})
    rest = list(resumed)
    assert len(rest) == len(loader) - 7
    whole = list(ClickLoader(rows, EpochSampler(len(rows), 100, "row")))
    for got, wanted in zip([*taken, *rest], whole, strict=True):
        assert torch.equal(got.indices, wanted.indices)


def test_epoch_is_that_of_the_moment_when_the_iteration_begins(synthetic_folder: Path) -> None:
    rows = rows_of(synthetic_folder)
    sampler = EpochSampler(len(rows), 1000, "row", seed=1)
    selections = iter(sampler)
    sampler.set_epoch(1)
    assert not np.array_equal(next(selections), next(iter(sampler)))


def test_fault_in_the_middle_of_an_epoch_is_named_after_the_batches_before(dataset_copy: Path) -> None:
    path = dataset_copy / split_file_name("val")
    records = np.fromfile(path, dtype="<i4").reshape(-1, 40)
    records[1234, 0] = 3
    records.tofile(path)
    rows, found = rows_of(dataset_copy, "val"), 0
    with pytest.raises(DataFormatError, match="record 1234: the label is 3"):
        for batch in rows.batches(10):
            found += batch.num_samples
    assert found == 1230
    with pytest.raises(DataFormatError, match="record 1234: the label is 3"):
        rows.read([slice(0, 10), slice(1230, 1240)])
    assert rows.read([]) == []


def test_unusual_selections_are_as_ever(synthetic_folder: Path) -> None:
    rows = rows_of(synthetic_folder, "val")
    last, first, whole = rows[-10:], rows[np.array([-1, 3])], rows[:]
    assert torch.equal(last.indices, whole.indices[:, -10:])
    assert torch.equal(first.indices, whole.indices[:, [-1, 3]])
    assert torch.equal(rows[0:100:7].indices, whole.indices[:, 0:100:7])
    assert rows[50:20].num_samples == 0
    with pytest.raises(IndexError, match="out of bounds"):
        rows[np.array([2000])]
