"""Batches of Lightning's loader, without its per-batch overhead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytorch_lightning.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from pytorch_lightning.utilities.combined_loader import CombinedLoader, _MaxSizeCycle

from dlrm_pl.data.loading.resumable_loader import HandedOut


class Batches:
    """Takes batches from a fetcher's source, and counts them there.

    For each batch, a fetcher goes through a profiler, a combined loader, the iterator of its mode and a tree with one
    leaf, which takes 20 us. Combined loaders and loaders without a length are left to the fetcher.

    Args:
        fetcher: fetcher of an epoch's batches.
    """

    def __init__(self, fetcher: _DataFetcher) -> None:
        self._fetcher = fetcher
        self._iterator = _iterator_of(fetcher)
        self._error: Exception | None = None

    def take(self, count: int) -> Sequence[Any]:
        """Return the next batches: at least one, and at most as many as requested.

        There are fewer just before the end, before an error (which the next call raises), and where our own loader has
        not read more batches together.

        Raises:
            StopIteration: there are no more.
        """
        if self._error is not None:
            raise self._error
        iterator = self._iterator
        if iterator is None:
            return [next(self._fetcher)[0]]
        try:
            batches = self._next(iterator.iterators[0], count)
        except StopIteration:
            self._fetcher.done = True
            raise
        iterator._idx += len(batches)
        self._fetcher.fetched += len(batches)
        self._fetcher.done = self._fetcher.fetched >= (self._fetcher.length or 0)
        return batches

    def _next(self, source: Iterator[Any], count: int) -> Sequence[Any]:
        if isinstance(source, HandedOut):
            return source.take(count)
        batches: list[Any] = []
        try:
            for _ in range(count):
                batches.append(next(source))
        except Exception as error:
            if not batches:
                raise
            self._error = error
        return batches


def _iterator_of(fetcher: _DataFetcher) -> _MaxSizeCycle | None:
    """The iterator over the only loader of a fetcher; None if the fetcher does more than hand out batches."""
    if type(fetcher) is not _PrefetchDataFetcher or fetcher.batches or fetcher.length is None:
        return None
    loader = fetcher.combined_loader
    if type(loader) is not CombinedLoader or len(loader.flattened) != 1 or loader._iterables is not loader.flattened[0]:
        return None
    iterator = loader._iterator
    return iterator if type(iterator) is _MaxSizeCycle else None
