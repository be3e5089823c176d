"""The queue: which requests are scored together, which wait, and which are refused."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import LookupIndexError
from dlrm_pl.server.batching.batcher import Batcher, BatchLimits, OverloadedError, Scores


class Scored:
    """A model that returns each row's first dense value, and records the batches."""

    def __init__(self, wait: threading.Event | None = None) -> None:
        self.batches: list[int] = []
        self.threads: list[str] = []
        self._wait = wait

    def __call__(self, batch: ClickBatch) -> Scores:
        self.batches.append(batch.num_samples)
        self.threads.append(threading.current_thread().name)
        if self._wait is not None:
            self._wait.wait(20)
        values = batch.dense[:, 0].numpy()
        if (values < 0).any():
            raise LookupIndexError("a negative value")
        return Scores(values, values)


def rows(count: int, value: float = 0) -> ClickBatch:
    return ClickBatch(torch.full((count, 1), float(value)), torch.zeros(1, count, dtype=torch.int64))


def batcher(score: Scored, *, merges: bool = True, **limits: float) -> Batcher:
    return Batcher(score, ThreadPoolExecutor(1, "scorer"), BatchLimits(**limits), merges=merges)  # type: ignore[arg-type]


def test_requests_of_one_turn_of_the_loop_are_scored_together_in_the_loops_thread() -> None:
    score = Scored()

    async def ask() -> list[Scores]:
        queue = batcher(score)
        return list(await asyncio.gather(*(queue.submit(rows(2, value)) for value in range(5))))

    for value, scores in enumerate(asyncio.run(ask())):
        np.testing.assert_array_equal(scores.probabilities, [value, value])
    assert score.batches == [10]
    assert score.threads == ["MainThread"]


def test_batches_keep_to_their_rows_and_a_large_request_is_scored_elsewhere() -> None:
    score = Scored()

    async def ask() -> None:
        queue = batcher(score, batch_rows=100)
        await asyncio.gather(*(queue.submit(rows(count)) for count in (60, 40, 1, 500, 3)))
        assert queue.queued_rows == 0

    asyncio.run(ask())
    assert score.batches == [100, 1, 500, 3]
    assert score.threads[2].startswith("scorer")


def test_requests_gather_while_a_batch_is_scored() -> None:
    free = threading.Event()
    score = Scored(free)

    async def ask() -> None:
        queue = batcher(score)
        first = queue.submit(rows(100))
        await asyncio.sleep(0.02)
        others = [queue.submit(rows(1)) for _ in range(7)]
        await asyncio.sleep(0.02)
        assert queue.queued_rows == 7
        free.set()
        await asyncio.gather(first, *others)

    asyncio.run(ask())
    assert score.batches == [100, 7]


def test_delay_collects_requests_of_several_turns() -> None:
    score = Scored()

    async def ask() -> float:
        queue = batcher(score, delay_s=0.1)
        began = time.monotonic()
        futures = []
        for _ in range(4):
            futures.append(queue.submit(rows(1)))
            await asyncio.sleep(0.001)
        await asyncio.gather(*futures)
        return time.monotonic() - began

    assert asyncio.run(ask()) >= 0.1
    assert score.batches == [4]


def test_more_rows_than_may_wait_are_refused() -> None:
    free = threading.Event()

    async def ask() -> None:
        queue = batcher(Scored(free), queue_rows=10)
        first = queue.submit(rows(1000))  # One request is always accepted, however large.
        await asyncio.sleep(0.01)
        waiting = queue.submit(rows(8))
        with pytest.raises(OverloadedError):
            queue.submit(rows(3))
        free.set()
        await asyncio.gather(first, waiting)
        await queue.submit(rows(3))

    asyncio.run(ask())


def test_requests_of_a_model_that_is_not_merged_are_scored_alone() -> None:
    score = Scored()

    async def ask() -> None:
        queue = batcher(score, merges=False)
        await asyncio.gather(*(queue.submit(rows(2)) for _ in range(3)))

    asyncio.run(ask())
    assert score.batches == [2, 2, 2]


def test_an_error_is_that_of_its_own_request() -> None:
    score = Scored()

    async def ask() -> list[Scores | BaseException]:
        queue = batcher(score)
        futures = [queue.submit(rows(1, value)) for value in (1, -1, 2)]
        return list(await asyncio.gather(*futures, return_exceptions=True))

    one, error, two = asyncio.run(ask())
    assert isinstance(error, LookupIndexError)
    assert isinstance(one, Scores)
    assert isinstance(two, Scores)
    assert [one.logits[0], two.logits[0]] == [1, 2]
    assert score.batches == [3, 1, 1, 1]


def test_request_whose_client_has_gone_is_not_scored() -> None:
    score = Scored()

    async def ask() -> None:
        queue = batcher(score)
        gone, other = queue.submit(rows(1)), queue.submit(rows(2))
        gone.cancel()
        await other
        assert queue.queued_rows == 0

    asyncio.run(ask())
    assert score.batches == [2]


def test_lone_small_request_needs_no_queue() -> None:
    score = Scored()

    async def ask() -> None:
        queue = batcher(score)
        assert queue.score_now(rows(65)) is None
        assert queue.score_now(rows(3)) is not None
        queue.submit(rows(1)).cancel()
        assert queue.score_now(rows(3)) is None

    asyncio.run(ask())
    assert score.batches == [3]
