"""A thread that the system suspends for another program does not hold up the others."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.data.preprocessing import log_run as module
from dlrm_pl.data.preprocessing.engine.numpy_engine import NumPyEngine
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.preprocessing.threads import InOrder, StoppedError, run_threads
from tests.support.logs.raw_logs import contents, random_lines, write_days


def test_other_chunks_are_read_while_one_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(2500, 0), random_lines(100, 1)])
    engine = NumPyEngine()
    real, reached, lock, calls = engine.parse, threading.Event(), threading.Lock(), 0
    helped: list[bool] = []

    def parse(*arguments: Any, **options: Any) -> tuple[int, int, int]:
        nonlocal calls
        with lock:
            calls += 1
            number = calls - 2  # The plan parses two chunks to measure the parser's speed.
        if number == 1:
            helped.append(reached.wait(20))
        if number == 4:
            reached.set()
        return real(*arguments, **options)

    options = PreprocessOptions(workers=2, memory_bytes=16 << 20)
    preprocess(raw, tmp_path / "plain", options)
    monkeypatch.setattr(engine, "parse", parse)
    monkeypatch.setattr(module, "engine", lambda: engine)
    monkeypatch.setattr(PreprocessOptions, "chunk_bytes", 1 << 16)
    preprocess(raw, tmp_path / "out", options)
    assert helped == [True], "no more than one chunk for each thread that may run"
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_no_more_threads_run_than_there_are_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(1500, 0), random_lines(100, 1)])
    engine = NumPyEngine()
    real, lock, running, most = engine.parse, threading.Lock(), 0, 0

    def parse(*arguments: Any, **options: Any) -> tuple[int, int, int]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return real(*arguments, **options)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(engine, "parse", parse)
    monkeypatch.setattr(module, "engine", lambda: engine)
    monkeypatch.setattr(PreprocessOptions, "chunk_bytes", 1 << 16)
    preprocess(raw, tmp_path / "out", PreprocessOptions(workers=2))
    assert 1 <= most <= 2


def test_other_buckets_are_sorted_while_one_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(4000, 0), random_lines(100, 1)])
    engine = NumPyEngine()
    real, reached, lock, calls = engine.order, threading.Event(), threading.Lock(), 0
    helped: list[bool] = []

    def order(*arguments: Any) -> Any:
        nonlocal calls
        with lock:
            calls += 1
            number = calls
        if number == 1:
            helped.append(reached.wait(20))
        if number == 5:
            reached.set()
        return real(*arguments)

    options = PreprocessOptions(workers=2)
    monkeypatch.setattr(module, "engine", lambda: engine)
    monkeypatch.setattr(PreprocessOptions, "bucket_bytes", lambda options, total_bytes: 1 << 16)
    preprocess(raw, tmp_path / "plain", options)
    monkeypatch.setattr(engine, "order", order)
    preprocess(raw, tmp_path / "out", options)
    assert helped == [True], "no more than one bucket for each thread that may run"
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


@pytest.mark.parametrize(("workers", "most"), [(1, 0), (2, 0), (2, 1), (5, 3)])
def test_items_are_passed_on_once_in_their_order(workers: int, most: int) -> None:
    passed: list[tuple[int, str]] = []
    alone = threading.Lock()

    def take(number: int, item: str) -> None:
        assert alone.acquire(blocking=False), "two threads pass items on at once"
        time.sleep(random.choice((0, 0, 0.0005)))
        passed.append((number, item))
        alone.release()

    in_order = InOrder(take, most, str)
    numbers = iter(range(300))
    lock = threading.Lock()

    def give() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            time.sleep(random.choice((0, 0, 0.001)))
            in_order.give(number, str(number))

    run_threads([give] * workers, workers, in_order.stop)
    assert passed == [(number, str(number)) for number in range(300)]


def test_nothing_is_passed_on_after_an_item_that_failed() -> None:
    passed: list[int] = []

    def take(number: int, item: None) -> None:
        if number == 2:
            raise ValueError("item 2")
        passed.append(number)

    in_order = InOrder[None](take, 9, lambda item: item)
    for number in (3, 1, 0):
        in_order.give(number, None)
    with pytest.raises(ValueError, match="item 2"):
        in_order.give(2, None)
    with pytest.raises(StoppedError):
        in_order.give(4, None)
    assert passed == [0, 1]
