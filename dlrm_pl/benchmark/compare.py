"""Run all contenders over batch sizes and thread counts, each checked against fp32 before it is timed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.agreement import check_agreement
from dlrm_pl.benchmark.comparison import Cell, Comparison
from dlrm_pl.benchmark.compilation import CompilationError
from dlrm_pl.benchmark.contenders import BASELINE, Contender, Contenders
from dlrm_pl.benchmark.rows import Source
from dlrm_pl.benchmark.timer import Scorer, time_in_turn
from dlrm_pl.errors import ConfigurationError

log = logging.getLogger(__name__)

BATCH_SIZES = (1, 32, 2048, 16384)
# Number of samples on which logits are compared: fewer say little about their spread.
_AGREEMENT_SAMPLES = 2048


def compare(
    contenders: Contenders,
    rows: Source,
    *,
    batch_sizes: Sequence[int],
    threads: Sequence[int],
    seconds: float,
    progress: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Check and time the contenders.

    Args:
        contenders: what to time. The first is the baseline: fp32 eager, or the int8 model where there is no float one.
        rows: source of batches, by batch size.
        batch_sizes: samples of a batch, one size after the other.
        threads: numbers of threads to set in torch, one after the other; the present one is restored.
        seconds: time for each contender in each cell.
        progress: called with a description of each step.

    Raises:
        VerificationError: a contender does not compute the model; it is not timed.
        ConfigurationError: a batch size or thread count below 1.
    """
    for name, numbers in (("batch_sizes", batch_sizes), ("threads", threads)):
        if not numbers or min(numbers) < 1:
            raise ConfigurationError(f"{name}={list(numbers)} must be one or more whole numbers of at least 1.")
    if seconds <= 0:
        raise ConfigurationError(f"seconds={seconds} must be more than 0.")
    present = list(contenders.available)
    unavailable = dict(contenders.unavailable)
    baseline, sqnr, cells = present[0].name, dict[str, float](), []
    with torch.inference_mode():
        for size in batch_sizes:
            batches = rows(size)
            for count in threads:
                with torch_threads(count):
                    where = f"batch {size:,}, threads {count}"
                    scorers = {}
                    for contender in tuple(present):
                        progress(f"{where}: {contender.label}, prepare")
                        try:
                            scorers[contender.name] = contender.prepare(batches[0])
                        except CompilationError as error:
                            log.warning("%s is left out: %s", contender.label, error)
                            unavailable[contender.label] = str(error)
                            present.remove(contender)
                    if baseline == BASELINE:
                        sqnr |= _worst(sqnr, _agreements(present, scorers, batches))
                    progress(f"{where}: time {len(scorers)} contenders")
                    timings = time_in_turn(scorers, batches, baseline=baseline, seconds=seconds)
                    cells.append(Cell(count, size, timings))
    return Comparison(
        labels={contender.name: contender.label for contender in contenders.available},
        unavailable=unavailable,
        baseline=baseline,
        sqnr_db=sqnr,
        cells=tuple(sorted(cells, key=lambda cell: (cell.threads, cell.batch_size))),
    )


def _agreements(
    contenders: Sequence[Contender], scorers: dict[str, Scorer], batches: Sequence[ClickBatch]
) -> dict[str, float]:
    """Compare the logits of every contender with those of the first, on the very callables that are timed."""
    some = batches[: max(1, _AGREEMENT_SAMPLES // batches[0].num_samples)]
    logits = {name: _logits(scorer, some) for name, scorer in scorers.items()}
    reference = logits[contenders[0].name]
    return {
        contender.name: check_agreement(contender, reference, logits[contender.name]) for contender in contenders[1:]
    }


def _logits(scorer: Scorer, batches: Sequence[ClickBatch]) -> Tensor:
    return torch.cat([scorer(batch) for batch in batches])


def _worst(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    return {name: min(db, before.get(name, db)) for name, db in now.items()}


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
