"""A DataLoader that can resume in the middle of an epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.read_ahead import ReadBatches, Waiting
from dlrm_pl.data.loading.sampling import EpochSampler
from dlrm_pl.errors import DLRMError


class ClickLoader(DataLoader[ClickBatch]):
    """A loader of the batches that an ``EpochSampler`` selects; Lightning saves its state in checkpoints.

    Args:
        dataset: dataset whose items are batches.
        sampler: rows of each batch.
        num_workers: number of processes that read ahead; 0: a thread of this process reads ahead.

    Attributes:
        waiting: number of rows handed out so far, and the time spent waiting for them.

    Its iterators can hand out several batches at a time (``HandedOut.take``). ``state_dict`` counts the batches that
    were handed out, not those that were read.

    Example:
        >>> from dlrm_pl import DLRMDataModule
        >>> data = DLRMDataModule("datasets/quickstart")
        >>> data.setup("fit")
        >>> data.train_dataloader()
        ClickLoader(... batches, num_workers=0)
    """

    def __init__(self, dataset: ClickDataset, sampler: EpochSampler, num_workers: int = 0) -> None:
        self.waiting = Waiting()
        self._handed_out = 0
        self._resume_at = 0
        super().__init__(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def __repr__(self) -> str:
        """The number of batches and of processes, in one line."""
        return f"ClickLoader({len(self):,} batches, num_workers={self.num_workers})"

    def __iter__(self) -> HandedOut:  # type: ignore[override]
        """Return an iterator over the batches of an epoch; after a resume, over the remaining ones."""
        return HandedOut(self)

    def _read(self) -> Iterator[ClickBatch]:
        """Start to read the batches of an epoch, when the first one is requested."""
        assert isinstance(self.sampler, EpochSampler)
        self.sampler.start_at(self._resume_at)
        self._handed_out = self._resume_at
        self._resume_at = 0
        if self.num_workers:
            return self._read_by_workers()
        assert isinstance(self.dataset, ClickDataset)
        return self.dataset.stream(self.sampler, pin_memory=self.pin_memory, waiting=self.waiting)

    def _count(self, batches: int) -> None:
        """Count batches that are handed out; the model has not seen those that were only read ahead."""
        self._handed_out += batches

    def _read_by_workers(self) -> Iterator[ClickBatch]:
        batches, waiting = super().__iter__(), self.waiting
        while True:
            started = time.perf_counter()
            try:
                batch = next(batches, None)
            except DLRMError as error:
                raise _as_in_worker(error) from error
            waiting.seconds += time.perf_counter() - started
            if batch is None:
                return
            waiting.rows += batch.num_samples
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches of this epoch that were yielded; 0 at its end."""
        return {"batches": self._handed_out % max(1, len(self))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Start the next iteration where the saved one stopped."""
        self._resume_at = int(state["batches"])


class HandedOut(Iterator[ClickBatch]):
    """Batches of an epoch, counted as they are handed out.

    Args:
        loader: the loader of the batches.
    """

    def __init__(self, loader: ClickLoader) -> None:
        self._loader = loader
        self._batches: Iterator[ClickBatch] | None = None

    def __next__(self) -> ClickBatch:
        """Return the next batch."""
        batch = next(self._source())
        self._loader._count(1)
        return batch

    def take(self, count: int) -> Sequence[ClickBatch]:
        """Return the next available batches: at least one, and at most as many as requested.

        Raises:
            StopIteration: there are no more.
            DLRMError: the next batch cannot be read.
        """
        source = self._source()
        batches = source.take(count) if isinstance(source, ReadBatches) else (next(source),)
        self._loader._count(len(batches))
        return batches

    def _source(self) -> Iterator[ClickBatch]:
        if self._batches is None:
            self._batches = self._loader._read()
        return self._batches


def _as_in_worker(error: DLRMError) -> DLRMError:
    """Return the error that a worker raised, given the DataLoader's error with the worker's traceback as text."""
    kind = type(error)
    _, name, message = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")
    return kind(message.rstrip()) if name else error


class SelectionStream(IterableDataset[ClickBatch]):
    """Iterable over a sampler's batches for prediction, where Lightning would rebuild a map-style loader wrongly."""

    def __init__(self, dataset: ClickDataset, sampler: EpochSampler) -> None:
        self._dataset = dataset
        self._sampler = sampler

    def __iter__(self) -> Iterator[ClickBatch]:
        """Yield batch after batch."""
        return self._dataset.stream(self._sampler)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._sampler)
