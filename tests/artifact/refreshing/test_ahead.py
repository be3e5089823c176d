"""Threads compute results ahead, in order and no more of them than requested."""

from __future__ import annotations

import threading

import pytest

from dlrm_pl.artifact.refreshing.ahead import Ahead

_LONG_S = 30.0  # Otherwise a failing test would wait forever.


def test_results_are_those_of_the_function() -> None:
    with Ahead(lambda key: -key, range(10), 2) as results:
        assert [results.take(key) for key in range(10)] == [-key for key in range(10)]
    assert results.take(7) == -7


def test_other_keys_are_computed_by_the_caller() -> None:
    threads: dict[int, int] = {}
    with Ahead(lambda key: threads.setdefault(key, threading.get_ident()), [1, 2], 1) as results:
        assert results.take(5) == threading.get_ident()
        assert {results.take(1), results.take(2)}.isdisjoint({threading.get_ident()})


def test_so_many_results_are_computed_at_a_time() -> None:
    """Each computation waits until another one has begun."""
    both, begun = threading.Barrier(2), []

    def compute(key: int) -> int:
        begun.append(key)
        both.wait(_LONG_S)
        return key

    with Ahead(compute, range(4), 2) as results:
        assert results.take(0) == 0
        assert results.take(1) == 1
        assert [results.take(2), results.take(3)] == [2, 3]
    assert sorted(begun) == [0, 1, 2, 3]


def test_nothing_is_computed_beyond_the_count() -> None:
    begun: list[int] = []
    with Ahead(begun.append, range(9), 2) as results:
        results.take(0)
        results.take(1)
    assert set(begun) <= {0, 1, 2, 3}


def test_an_error_is_that_of_its_key() -> None:
    def compute(key: int) -> int:
        if key == 1:
            raise ValueError(f"made up for {key}")
        return key

    with Ahead(compute, range(3), 2) as results:
        assert results.take(0) == 0
        with pytest.raises(ValueError, match="made up for 1"):
            results.take(1)
        assert results.take(2) == 2


def test_after_an_error_of_the_caller_nothing_runs_on() -> None:
    begun: list[int] = []
    with pytest.raises(KeyboardInterrupt), Ahead(begun.append, range(9), 2):
        raise KeyboardInterrupt
    assert len(begun) <= 2
