"""Queue of one model: requests wait here to be scored, together if that gives the same bits.

A batch of 2,048 rows takes as long as 15 to 30 single rows, so requests that have arrived together are scored as one
batch. No request waits for later ones unless a delay is set: while one batch is scored, the next one gathers, so that
batches grow with the load. Small batches are scored in the event loop's thread, because handing a batch to another
thread and back often takes longer than scoring it; larger ones are scored in a separate thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import DLRMError
from dlrm_pl.server.batching.merging import Rows, merged
from dlrm_pl.server.protocol.errors import RequestError

T = TypeVar("T")

Floats = npt.NDArray[np.float32]

# Largest batch to score in the event loop, which it blocks for half a millisecond with MLPerf's model.
_INLINE_ROWS = 64


class Scores(NamedTuple):
    """Output of a model for some rows.

    Attributes:
        logits: float32 ``[B]``.
        probabilities: float32 ``[B]``.
    """

    logits: Floats
    probabilities: Floats


class OverloadedError(Exception):
    """The queue has no room for a request's rows."""


@dataclass(frozen=True)
class BatchLimits:
    """Limits for batching requests.

    Attributes:
        batch_rows: maximum number of rows of several requests in a batch; a larger request is a batch of its own.
        queue_rows: maximum number of waiting rows.
        delay_s: seconds that the first request of a batch waits for others; 0: none.
    """

    batch_rows: int = 2048
    queue_rows: int = 16384
    delay_s: float = 0.0


@dataclass(slots=True)
class _Job:
    batch: Rows
    rows: int
    answer: asyncio.Future[Scores]


class Batcher:
    """Scores batches of requests, one at a time. Its methods are called in the event loop's thread.

    Args:
        score: scores a batch; called in the event loop's thread or in one of the executor's.
        executor: where large batches are scored.
        limits: how requests are batched.
        merges: whether a row's score is independent of the other rows in its batch; if not, each request is scored
            alone.
        observe: called with the number of requests and of rows of each batch that was scored.
    """

    def __init__(
        self,
        score: Callable[[ClickBatch], Scores],
        executor: Executor,
        limits: BatchLimits,
        *,
        merges: bool,
        observe: Callable[[int, int], None] = lambda requests, rows: None,
    ) -> None:
        self._score = score
        self._executor = executor
        self._limits = limits
        self._merges = merges
        self._observe = observe
        self._waiting: deque[_Job] = deque()
        self._is_planned = False
        self.queued_rows = 0
        self.requests = 0
        """Number of requests that are being read, scored or answered; whoever accepts a request counts it."""

    def submit(self, batch: Rows) -> asyncio.Future[Scores]:
        """Queue the rows of a request.

        Returns:
            A future with their scores, or with the error that scoring them raised.

        Raises:
            OverloadedError: too many rows are already waiting.
        """
        rows = batch.num_samples
        if self.queued_rows and self.queued_rows + rows > self._limits.queue_rows:
            raise OverloadedError
        loop = asyncio.get_running_loop()
        job = _Job(batch, rows, loop.create_future())
        self._waiting.append(job)
        self.queued_rows += rows
        if not self._is_planned:
            self._is_planned = True
            if self._limits.delay_s and rows < self._limits.batch_rows:
                loop.call_later(self._limits.delay_s, self._next)
            else:
                loop.call_soon(self._next)
        return job.answer

    def beside(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run slow work in the thread for large batches."""
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    def score_now(self, batch: Rows) -> Scores | None:
        """Score a small batch at once, for a request while no other request is being answered.

        Returns:
            Its scores; None if it is not small or other requests are waiting: then call ``submit``.

        Raises:
            RequestError: a value does not fit.
            DLRMError: the rows cannot be scored.
        """
        if self._is_planned or self._limits.delay_s or batch.num_samples > _INLINE_ROWS:
            return None
        scores = self._score(merged([batch]))
        self._observe(1, len(scores.logits))
        return scores

    def _next(self) -> None:
        """Score waiting requests until none is left or the other thread has a batch."""
        while self._waiting:
            jobs = self._take()
            if not jobs:
                continue
            rows = sum(job.rows for job in jobs)
            if rows > _INLINE_ROWS:
                loop = asyncio.get_running_loop()
                future = loop.run_in_executor(self._executor, self._scores, jobs)
                future.add_done_callback(lambda done, jobs=jobs: self._finish(jobs, done.result()))  # type: ignore[misc]
                return
            self._answer(jobs, self._scores(jobs))
            if self._waiting:
                # Let the event loop read connections first; requests that arrive then join the batch.
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._is_planned = False

    def _finish(self, jobs: list[_Job], results: list[Scores | Exception]) -> None:
        self._answer(jobs, results)
        self._next()

    def _take(self) -> list[_Job]:
        """Take the requests of the next batch, without those whose clients have gone."""
        jobs: list[_Job] = []
        rows = 0
        while self._waiting:
            job = self._waiting[0]
            if jobs:
                first = jobs[0].batch
                fits = rows + job.rows <= self._limits.batch_rows
                alike = (first.offsets is None) == (job.batch.offsets is None)
                if not self._merges or not fits or not alike or not job.rows or not rows:
                    break
            self._waiting.popleft()
            self.queued_rows -= job.rows
            if not job.answer.cancelled():
                jobs.append(job)
                rows += job.rows
        return jobs

    def _scores(self, jobs: list[_Job]) -> list[Scores | Exception]:
        """Score requests together; if that fails, one by one, so that only the request with the error fails."""
        try:
            scores = self._score(merged([job.batch for job in jobs]))
        except (DLRMError, RequestError) as error:
            return [error] if len(jobs) == 1 else [result for job in jobs for result in self._scores([job])]
        except Exception as error:  # Each request reports the error, and the queue continues.
            return [error] * len(jobs)
        self._observe(len(jobs), len(scores.logits))
        if len(jobs) == 1:
            return [scores]
        results: list[Scores | Exception] = []
        first = 0
        for job in jobs:
            last = first + job.rows
            results.append(Scores(scores.logits[first:last], scores.probabilities[first:last]))
            first = last
        return results

    def _answer(self, jobs: list[_Job], results: list[Scores | Exception]) -> None:
        for job, result in zip(jobs, results, strict=True):
            if job.answer.cancelled():
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)
