"""Batches of Lightning's loader, without its work for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytorch_lightning.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from pytorch_lightning.utilities.combined_loader import CombinedLoader, _MaxSizeCycle


class Batches:
    """Takes batches from where a fetcher takes them, and counts them there.

    For each batch a fetcher goes through a profiler, a combined loader, the iterator of its mode and a tree of one
    leaf, which takes 20 us. Loaders that are combined or have no length are left to it.

    Args:
        fetcher: the fetcher of an epoch's batches.
    """

    def __init__(self, fetcher: _DataFetcher) -> None:
        self._fetcher = fetcher
        self._iterator = _iterator_of(fetcher)
        self._error: Exception | None = None

    def take(self, count: int) -> list[Any]:
        """Return the next batches: as many, or those before the end or an error, which the next call raises.

        Raises:
            StopIteration: there are no more.
        """
        if self._error is not None:
            raise self._error
        iterator, batches = self._iterator, []
        if iterator is None:
            return [next(self._fetcher)[0]]
        source: Iterator[Any] = iterator.iterators[0]
        try:
            for _ in range(count):
                batches.append(next(source))
        except Exception as error:
            if not batches:
                self._fetcher.done |= isinstance(error, StopIteration)
                raise
            self._error = error
        iterator._idx += len(batches)
        self._fetcher.fetched += len(batches)
        self._fetcher.done = self._fetcher.fetched >= (self._fetcher.length or 0)
        return batches


def _iterator_of(fetcher: _DataFetcher) -> _MaxSizeCycle | None:
    """The iterator over the only loader of a fetcher; None if it does more than to hand out batches."""
    if type(fetcher) is not _PrefetchDataFetcher or fetcher.batches or fetcher.length is None:
        return None
    loader = fetcher.combined_loader
    if type(loader) is not CombinedLoader or len(loader.flattened) != 1 or loader._iterables is not loader.flattened[0]:
        return None
    iterator = loader._iterator
    return iterator if type(iterator) is _MaxSizeCycle else None
