"""Run all contenders over batch sizes and thread counts, each checked against fp32 before it is timed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.agreement import check_agreement
from dlrm_pl.benchmark.comparison import Cell, Comparison
from dlrm_pl.benchmark.contenders import BASELINE, Contender, Contenders
from dlrm_pl.benchmark.rows import Source
from dlrm_pl.benchmark.timer import Scorer, Timing, time_in_turn
from dlrm_pl.benchmark.unavailable import UnavailableError
from dlrm_pl.errors import ConfigurationError, VerificationError

log = logging.getLogger(__name__)

BATCH_SIZES = (1, 32, 2048, 16384)
# Number of samples on which logits are compared; fewer would not show their spread.
_AGREEMENT_SAMPLES = 2048


def compare(
    contenders: Contenders,
    rows: Source,
    *,
    batch_sizes: Sequence[int],
    threads: Sequence[int],
    seconds: float,
    progress: Callable[[str], None] = lambda what: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Check and time the contenders.

    Args:
        contenders: what to time. The first is the baseline: fp32 eager, or the int8 model if there is no float model.
        rows: source of batches, by batch size.
        batch_sizes: batch sizes, timed one after the other.
        threads: numbers of threads to set in torch, one after the other; the current number is restored at the end.
        seconds: time for each contender in each cell.
        progress: called with a description of each step.
        clock: clock in seconds. ``time.process_time`` leaves out the time of other programs and adds up the time of all
            threads.

    Raises:
        VerificationError: a contender does not compute the same model, so it is not timed.
        ConfigurationError: a batch size or thread count is below 1.
    """
    for name, numbers in (("batch_sizes", batch_sizes), ("threads", threads)):
        if not numbers or min(numbers) < 1:
            raise ConfigurationError(
                f"{name}={list(numbers)} must be a list of one or more whole numbers, each at least 1."
            )
    if seconds <= 0:
        raise ConfigurationError(f"seconds={seconds} must be above 0.")
    run = _Run(list(contenders.available), dict(contenders.unavailable), progress, clock)
    baseline, cells = run.present[0].name, []
    with torch.inference_mode():
        for size in batch_sizes:
            batches = rows(size)
            for count in threads:
                with torch_threads(count):
                    where = f"batch {size:,}, threads {count}"
                    scorers = run.prepare(where, batches[0])
                    if baseline == BASELINE:
                        run.check(where, scorers, batches)
                    cells.append(Cell(count, size, run.time(where, scorers, batches, seconds)))
                    del scorers  # Free them before others are loaded.
    return Comparison(
        labels={contender.name: contender.label for contender in contenders.available},
        unavailable=run.unavailable,
        baseline=baseline,
        sqnr_db=run.sqnr_db,
        cells=tuple(sorted(cells, key=lambda cell: (cell.threads, cell.batch_size))),
        rivals=tuple(contender.name for contender in contenders.available if not contender.is_own),
    )


@dataclass
class _Run:
    """The remaining contenders, and what is known about them.

    Attributes:
        present: contenders that have not failed; the first is the baseline.
        unavailable: reason by label of each contender that has failed or never took part.
        progress: see ``compare``.
        clock: see ``compare``.
        sqnr_db: lowest ratio to the fp32 logits, by name.
    """

    present: list[Contender]
    unavailable: dict[str, str]
    progress: Callable[[str], None]
    clock: Callable[[], float]
    sqnr_db: dict[str, float] = field(default_factory=dict)

    def prepare(self, where: str, example: ClickBatch) -> dict[str, Scorer]:
        """Return what to time, by name."""
        scorers = {}
        for contender in tuple(self.present):
            self.progress(f"{where}: preparing {contender.label}")
            try:
                scorers[contender.name] = contender.prepare(example)
            except UnavailableError as error:
                self._drop(contender, error, where)
        return scorers

    def check(self, where: str, scorers: dict[str, Scorer], batches: Sequence[ClickBatch]) -> None:
        """Compare the logits of all with those of the first, on the very callables that are timed.

        Raises:
            VerificationError: a contender that may not differ does not compute the same model.
        """
        some = batches[: max(1, _AGREEMENT_SAMPLES // batches[0].num_samples)]
        first, *others = self.present
        reference = _logits(scorers[first.name], some)
        for contender in others:
            try:
                db = check_agreement(contender, reference, _logits(scorers[contender.name], some))
            except (UnavailableError, VerificationError) as error:
                if isinstance(error, VerificationError) and not contender.may_differ:
                    raise
                self._drop(contender, error, where)
                del scorers[contender.name]
            else:
                self.sqnr_db[contender.name] = min(db, self.sqnr_db.get(contender.name, db))

    def time(
        self, where: str, scorers: dict[str, Scorer], batches: Sequence[ClickBatch], seconds: float
    ) -> dict[str, Timing]:
        """Time all contenders in turn; if one fails, start again without it."""
        while True:
            self.progress(f"{where}: timing {len(scorers)} contenders")
            try:
                baseline = self.present[0].name
                return time_in_turn(scorers, batches, baseline=baseline, seconds=seconds, clock=self.clock)
            except UnavailableError as error:
                (failed,) = (contender for contender in self.present if contender.name == error.contender)
                self._drop(failed, error, where)
                del scorers[failed.name]

    def _drop(self, contender: Contender, error: Exception, where: str) -> None:
        reason = str(error).removeprefix(f"{contender.label}: ")
        log.warning("%s is left out for %s: %s", contender.label, where, reason)
        self.unavailable[contender.label] = f"{where}: {reason}"
        self.present.remove(contender)


def _logits(scorer: Scorer, batches: Sequence[ClickBatch]) -> Tensor:
    return torch.cat([scorer(batch) for batch in batches])


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Set torch's number of threads for the duration of a ``with`` block; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def all_thread_counts() -> tuple[int, ...]:
    """Return 1, 2, 4, ... and the number of threads that torch uses now."""
    return thread_counts(torch.get_num_threads())


def thread_counts(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... up to a number, and that number."""
    return tuple(sorted({*(2**power for power in range(most.bit_length()) if 2**power < most), most}))
