"""Taking batches past Lightning's fetcher without disturbing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytorch_lightning.loops.fetchers import _PrefetchDataFetcher
from pytorch_lightning.utilities.combined_loader import CombinedLoader

from dlrm_pl.errors import DataFormatError
from dlrm_pl.training_loop.fetching import Batches


class Loader:
    """Yields numbers, one of which may be an error."""

    def __init__(self, count: int, wrong: int | None = None) -> None:
        self.count, self.wrong = count, wrong

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            if number == self.wrong:
                raise DataFormatError("record 3 is wrong")
            yield number


class LoaderOfUnknownLength:
    def __iter__(self) -> Iterator[int]:
        return iter(range(10))


def fetcher_of(loaders: Any, mode: str = "max_size_cycle") -> _PrefetchDataFetcher:
    fetcher = _PrefetchDataFetcher()
    fetcher.setup(CombinedLoader(loaders, mode))  # type: ignore[arg-type]
    return iter(fetcher)  # type: ignore[return-value]


def state(fetcher: _PrefetchDataFetcher) -> tuple[Any, ...]:
    iterator = fetcher.combined_loader._iterator
    assert iterator is not None
    return fetcher.fetched, fetcher.done, iterator._idx


def test_taken_batches_are_counted_as_the_fetcher_counts_them() -> None:
    ours, theirs = fetcher_of(Loader(10)), fetcher_of(Loader(10))
    batches = Batches(ours)
    for count in (1, 4, 3, 2):
        assert batches.take(count) == [next(theirs)[0] for _ in range(count)]
        assert state(ours) == state(theirs)
    assert ours.done
    with pytest.raises(StopIteration):
        batches.take(1)


def test_fetcher_goes_on_behind_them() -> None:
    fetcher = fetcher_of(Loader(10))
    assert Batches(fetcher).take(4) == [0, 1, 2, 3]
    assert next(fetcher) == (4, 4, 0)


def test_fewer_batches_are_there_than_asked_for() -> None:
    batches = Batches(fetcher_of(Loader(3)))
    assert batches.take(5) == [0, 1, 2]
    with pytest.raises(StopIteration):
        batches.take(5)


def test_error_comes_after_the_batches_before_it() -> None:
    fetcher = fetcher_of(Loader(10, wrong=3))
    batches = Batches(fetcher)
    assert batches.take(5) == [0, 1, 2]
    assert fetcher.fetched == 3
    with pytest.raises(DataFormatError, match="record 3"):
        batches.take(5)


@pytest.mark.parametrize(
    "loaders",
    [[Loader(10)], {"clicks": Loader(10)}, [Loader(10), Loader(3)], LoaderOfUnknownLength()],
    ids=["a list of one", "a dict", "a list of two", "one of unknown length"],
)
def test_other_loaders_are_left_to_the_fetcher(loaders: Any) -> None:
    ours, theirs = fetcher_of(loaders), fetcher_of(loaders)
    assert Batches(ours).take(5) == [next(theirs)[0]]
    assert state(ours) == state(theirs)
