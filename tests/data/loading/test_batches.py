"""How rows are divided into batches: shuffles, ranks, workers, resuming."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.decoding.row_ranges import RowRanges
from dlrm_pl.data.formats.binary_format import open_records, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.permutation import RandomPermutation
from dlrm_pl.data.loading.resumable_loader import ClickLoader
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.data.loading.sampling import EpochSampler, Selection, Shuffle
from dlrm_pl.errors import ConfigurationError, DataFormatError, DatasetError, ShapeError

SHUFFLES: tuple[Shuffle, ...] = ("none", "batch", "row")


def rows_of(selections: Iterable[Selection]) -> list[list[int]]:
    return [
        list(range(selection.start, selection.stop)) if isinstance(selection, slice) else selection.tolist()
        for selection in selections
    ]


@settings(deadline=None)
@given(size=st.integers(1, 5000), seed=st.integers(0, 2**32))
def test_permutation_is_a_bijection(size: int, seed: int) -> None:
    assert sorted(RandomPermutation(size, (seed, 0))(np.arange(size)).tolist()) == list(range(size))


@settings(deadline=None)
@given(size=st.integers(1, 2**40), seed=st.integers(0, 2**32), count=st.integers(0, 50))
def test_permutation_in_native_code_is_that_of_numpy(size: int, seed: int, count: int) -> None:
    permutation = RandomPermutation(size, (seed, 1))
    positions = np.random.default_rng(seed).integers(0, size, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLRM_PL_ISA", "fallback")
        expected = permutation(positions)
    np.testing.assert_array_equal(permutation(positions), expected)


def test_position_beyond_the_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="between 0 and 9"):
        RandomPermutation(10, (0, 0))(np.array([3, 10]))


def test_permutation_is_the_same_for_the_same_seed_and_looks_random() -> None:
    positions = np.arange(100_000)
    first, again, other = (RandomPermutation(100_000, key)(positions) for key in ((1, 0), (1, 0), (1, 1)))
    np.testing.assert_array_equal(first, again)
    assert (first == other).mean() < 1e-3
    # Neither order survives: correlations of a random permutation are about 1 / sqrt(n) = 0.003.
    assert abs(np.corrcoef(positions, first)[0, 1]) < 0.02
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.02


def test_permutation_of_billions_needs_no_memory() -> None:
    rows = RandomPermutation(4_195_197_692, (0, 0))(np.arange(1000) * 4_000_000)
    assert len(np.unique(rows)) == 1000
    assert 0 <= rows.min() <= rows.max() < 4_195_197_692


@settings(deadline=None)
@given(
    rows=st.integers(1, 200),
    batch=st.integers(1, 17),
    world=st.integers(1, 5),
    shuffle=st.sampled_from(SHUFFLES),
    epoch=st.integers(0, 3),
)
def test_ranks_get_disjoint_and_complete_shares_in_the_same_number_of_steps(
    rows: int, batch: int, world: int, shuffle: Shuffle, epoch: int
) -> None:
    if rows < world:
        with pytest.raises(ConfigurationError, match=f"{rows} rows cannot be divided between {world} ranks"):
            EpochSampler(rows, batch, shuffle, world_size=world)
        return
    seen: Counter[int] = Counter()
    steps = set()
    for rank in range(world):
        sampler = EpochSampler(rows, batch, shuffle, seed=3, rank=rank, world_size=world)
        sampler.set_epoch(epoch)
        batches = rows_of(sampler)
        assert len(batches) == len(sampler)
        assert all(1 <= len(rows_) <= batch + 1 for rows_ in batches)
        steps.add(len(batches))
        seen.update(row for rows_ in batches for row in rows_)
    assert seen == Counter(range(rows))
    assert len(steps) == 1


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=40, max_size=40),
    rows=st.integers(5, 200),
    shuffle=st.sampled_from(SHUFFLES),
    first=st.integers(0, 3),
    rank=st.integers(0, 4),
)
def test_batches_are_the_same_however_many_are_taken_together(
    counts: list[int], rows: int, shuffle: Shuffle, first: int, rank: int
) -> None:
    sampler = EpochSampler(rows, 7, shuffle, seed=3, rank=rank, world_size=5)
    one_by_one = rows_of(sampler)
    sampler.start_at(first)
    selections, taken = iter(sampler), []
    for count in counts:
        together = selections.take(count)
        assert len(together) == min(count, max(0, len(one_by_one) - first - len(taken)))
        taken += rows_of(together)
    assert taken == one_by_one[first:]
    assert next(selections, None) is None
    assert rows_of(sampler) == one_by_one  # Again from the beginning.


def test_ranges_are_slices() -> None:
    ranges = RowRanges(np.array([4, 0, 9]), np.array([2, 0, 5]))
    slices = [slice(4, 6), slice(0, 0), slice(9, 14)]
    assert list(ranges) == slices == [ranges[place] for place in range(3)]
    assert list(ranges[1:]) == slices[1:]
    assert list(ranges.moved(3)) == [slice(7, 9), slice(3, 3), slice(12, 17)]
    assert (len(ranges), ranges.most_rows, ranges.end) == (3, 5, 14)
    assert (ranges[:0].most_rows, ranges[:0].end) == (0, 0)


def test_sampler_of_more_rows_than_there_are_gives_those_that_are_there(synthetic_folder: Path) -> None:
    rows = dataset(synthetic_folder, "val")
    found = joined(rows.stream(EpochSampler(len(rows) + 30, 100)))
    assert torch.equal(found.labels, rows[:].labels)


def test_batch_shuffle_keeps_batches_together_as_the_reference_does() -> None:
    plain = rows_of(EpochSampler(103, 10))
    shuffled = rows_of(EpochSampler(103, 10, "batch"))
    assert plain[-1] == [100, 101, 102]
    assert plain != shuffled
    assert sorted(plain) == sorted(shuffled)


@pytest.mark.parametrize("shuffle", ["batch", "row"])
def test_order_is_seeded_and_differs_each_epoch(shuffle: Shuffle) -> None:
    def epoch(number: int, seed: int = 0) -> list[list[int]]:
        sampler = EpochSampler(1000, 10, shuffle, seed=seed)
        sampler.set_epoch(number)
        return rows_of(sampler)

    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)
    assert epoch(0) != epoch(0, seed=1)


def dataset(folder: Path, split: str = "train") -> ClickDataset:
    return ClickDataset.of_split(DatasetFolder.open(folder), split)  # type: ignore[arg-type]


def joined(batches: Any) -> ClickBatch:
    parts = list(batches)
    return ClickBatch(
        torch.cat([part.dense for part in parts]),
        torch.cat([part.indices for part in parts], dim=1),
        None,
        torch.cat([part.labels for part in parts]),
    )


def assert_same(one: ClickBatch, other: ClickBatch) -> None:
    for name in ("dense", "indices", "labels"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


def test_batch_is_what_the_record_says(synthetic_folder: Path) -> None:
    records = open_records(synthetic_folder / split_file_name("train"))[5:9]
    batch = dataset(synthetic_folder)[slice(5, 9)]
    assert batch.labels.tolist() == records[:, 0].tolist()
    torch.testing.assert_close(batch.dense, torch.from_numpy(np.log1p(records[:, 1:14].astype(np.float64))).float())
    np.testing.assert_array_equal(batch.indices.numpy(), records[:, 14:].T)
    assert batch.indices.is_contiguous()
    assert batch.offsets is None


@pytest.mark.parametrize("batch_size", [1, 7, 100, 10_000])
def test_batch_size_changes_no_row(synthetic_folder: Path, batch_size: int) -> None:
    rows = dataset(synthetic_folder, "val")
    assert_same(joined(rows.batches(batch_size)), rows[slice(0, len(rows))])


@pytest.mark.each_value
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_workers_change_no_batch(synthetic_folder: Path, workers: int, shuffle: Shuffle) -> None:
    rows = dataset(synthetic_folder, "val")
    rows[slice(0, 1)]  # Mapped in the parent first; the workers are forked afterwards.
    loader = ClickLoader(rows, EpochSampler(len(rows), 300, shuffle, seed=5), workers)
    alone = ClickLoader(dataset(synthetic_folder, "val"), EpochSampler(len(rows), 300, shuffle, seed=5))
    for got, expected in zip(loader, alone, strict=True):
        assert_same(got, expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_resumed_loader_goes_on_where_it_stopped(synthetic_folder: Path, workers: int, shuffle: Shuffle) -> None:
    rows = dataset(synthetic_folder, "val")
    whole = list(ClickLoader(rows, EpochSampler(len(rows), 300, shuffle, seed=5)))
    loader = ClickLoader(rows, EpochSampler(len(rows), 300, shuffle, seed=5), workers)
    loader.load_state_dict({"batches": 3})
    for expected in (whole[3:], whole):  # The rest of the epoch, and the next one from its start.
        for got, one in zip(loader, expected, strict=True):
            assert_same(got, one)


def test_pickling_a_dataset_does_not_copy_the_file(synthetic_folder: Path) -> None:
    rows = dataset(synthetic_folder)
    rows[slice(0, 10)]
    content = pickle.dumps(rows)
    assert len(content) < 10_000
    assert_same(pickle.loads(content)[slice(3, 9)], rows[slice(3, 9)])


def test_part_of_a_file_starts_where_it_should(synthetic_folder: Path) -> None:
    folder = DatasetFolder.open(synthetic_folder)
    part = ClickDataset.of_split(folder, "val", start=100, stop=130)
    assert len(part) == 30
    assert_same(part[slice(0, 30)], dataset(synthetic_folder, "val")[slice(100, 130)])


def test_cap_is_applied_by_modulo_to_indices_and_tables(synthetic_folder: Path) -> None:
    data = DLRMDataModule(str(synthetic_folder), max_ind_range=10)
    assert max(data.table_sizes) == 10
    batch = next(iter(data.val_dataloader()))
    plain = dataset(synthetic_folder, "val")[slice(0, batch.num_samples)]
    torch.testing.assert_close(batch.indices, plain.indices % 10, rtol=0, atol=0)


def test_record_numbers_in_messages_count_from_the_file(dataset_copy: Path) -> None:
    path = dataset_copy / split_file_name("val")
    records = np.fromfile(path, dtype="<i4").reshape(-1, 40)
    records[120, 0] = 3
    records.tofile(path)
    rows = ClickDataset.of_split(DatasetFolder.open(dataset_copy), "val", start=100)
    with pytest.raises(DataFormatError, match="record 120: the label is 3"):
        list(rows.batches(50))
    with pytest.raises(DataFormatError, match="record 120: the label is 3"):
        rows[np.array([3, 20, 7])]


@pytest.mark.parametrize("workers", [0, 1])
def test_error_of_a_worker_is_as_in_this_process(dataset_copy: Path, workers: int) -> None:
    path = dataset_copy / split_file_name("val")
    records = np.fromfile(path, dtype="<i4").reshape(-1, 40)
    records[1200, 0] = 3
    records.tofile(path)
    rows = dataset(dataset_copy, "val")
    loader = ClickLoader(rows, EpochSampler(len(rows), 300), workers)
    with pytest.raises(DataFormatError, match=r"^\S+: record 1200: the label is 3"):
        list(loader)


def test_rows_outside_the_file_are_rejected(synthetic_folder: Path) -> None:
    folder = DatasetFolder.open(synthetic_folder)
    with pytest.raises(ConfigurationError, match="rows 0 to 9999 were requested, but the file has 2000"):
        ClickDataset.of_split(folder, "val", stop=9999)


def test_batch_size_of_zero_is_rejected(synthetic_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="batch_size=0"):
        dataset(synthetic_folder).batches(0)
    with pytest.raises(ConfigurationError, match="batch_size=0"):
        EpochSampler(10, 0)
    with pytest.raises(ConfigurationError, match=r"data\.eval_batch_size=0"):
        DLRMDataModule(str(synthetic_folder), eval_batch_size=0)


def test_calibration_tuning_and_certification_rows_do_not_overlap(synthetic_folder: Path) -> None:
    ranges = DLRMDataModule(str(synthetic_folder)).row_ranges
    assert ranges["calibration"] == RowRange("val", 0, 200)  # A tenth of val, which is small.
    assert ranges["tuning"] == RowRange("val", 200, 2000)
    assert ranges["certification"] == RowRange("test", 0, 2000)
    assert not any(a.overlaps(b) for a in ranges.values() for b in ranges.values() if a is not b)
    exact = DLRMDataModule(str(synthetic_folder), calibration_rows=50).row_ranges
    assert exact["calibration"] == RowRange("val", 0, 50)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (RowRange("val", 0, 10), RowRange("val", 10, 20), False),
        (RowRange("val", 0, 11), RowRange("val", 10, 20), True),
        (RowRange("val", 0, 10), RowRange("test", 0, 10), False),
    ],
)
def test_overlap_of_row_ranges(one: RowRange, other: RowRange, overlap: bool) -> None:
    assert one.overlaps(other) is other.overlaps(one) is overlap


def test_loaders_read_their_rows(synthetic_folder: Path) -> None:
    data = DLRMDataModule(str(synthetic_folder), batch_size=64, eval_batch_size=512)
    assert joined(data.train_dataloader()).num_samples == 8000
    assert_same(joined([*data.calibration_dataloader(), *data.tuning_dataloader()]), joined(data.val_dataloader()))
    assert_same(joined(data.certification_dataloader()), joined(data.test_dataloader()))
    assert_same(joined(data.predict_dataloader()), joined(data.test_dataloader()))


def test_cap_above_that_of_the_dataset_is_refused(synthetic_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"max_ind_range=50000000, but .* lower cap 40000000"):
        DLRMDataModule(str(synthetic_folder), max_ind_range=50_000_000)


def test_val_of_one_row_cannot_be_divided(dataset_copy: Path) -> None:
    path = dataset_copy / split_file_name("val")
    path.write_bytes(path.read_bytes()[:160])
    (dataset_copy / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="1 row is too few to divide"):
        _ = DLRMDataModule(str(dataset_copy)).row_ranges


class Recorder(pl.LightningModule):
    """Records which rows it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[int] = []

    def training_step(self, batch: ClickBatch, batch_idx: int) -> torch.Tensor:
        self.seen.append(hash(tuple(batch.dense.flatten().tolist())))
        return self.weight * batch.dense.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "shuffle", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("none", "batch")), "row"]
)
def test_resumed_epoch_goes_on_where_it_stopped(synthetic_folder: Path, tmp_path: Path, shuffle: Shuffle) -> None:
    def fit(ckpt_path: Path | None = None) -> list[int]:
        module = Recorder()
        every_step = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=3,
            callbacks=[every_step],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = DLRMDataModule(str(synthetic_folder), batch_size=700, shuffle=shuffle)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return module.seen

    whole = fit()
    assert len(whole) == 36
    assert len(set(whole[:12])) == 12  # 12 batches an epoch, all different.
    for step in (5, 12, 17):
        assert fit(tmp_path / f"step={step}.ckpt") == whole[step:], f"resumed after {step} steps"
