"""What a user may choose about preprocessing, checked and in units of the program."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.sizes import GIB, format_bytes

Layout = Literal["terabyte", "kaggle"]
Randomize = Literal["total", "day", "none"]
VocabularyRule = Literal["reference", "train_only"]

KAGGLE_DAYS = 7
"""Days that the log of Criteo's challenge on Kaggle is cut into."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": GIB, "T": 1 << 40}
_LEAST_MEMORY = 16 << 20
_SMALL_BUCKET = 32 << 20
_SMALL_CHUNK = 64 << 10
_MOST_CHUNK = 4 << 20  # Of one worker; several have twice as many threads as workers.
_CHUNK_FACTOR = 10
_THREAD_BYTES = 1 << 20  # Beside its chunk: a histogram, its stack, its share of the allocator's memory.
_MANY_BUCKETS = 512


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    """All options that shape the result, and those that shape the run.

    Attributes:
        layout: ``terabyte``: one file a day; ``kaggle``: one file, cut into days.
        days: how many; None: 7 for ``kaggle``, as many as there are for ``terabyte``.
        max_ind_range: cap of the raw categories, by modulo; 0 or less: none.
        subsample_rate: share of non-clicks that is dropped, in all days, as the reference does.
        randomize: order of the training rows: over all days, inside each day, or as they come; None: over all days
            when they come from raw logs, else as they come.
        seed: of order and sub-sample.
        vocabulary: ``reference``: ids from all days; ``train_only``: from all but the last, and row 0 of each table
            for values that are not in it.
        min_count: values with fewer training rows share row 0 as well; 1: none.
        vocabulary_from: dataset folder whose ids are used instead of new ones.
        bad_rows: the share of rows that may be left out because they cannot be read; None: stop at the first.
        workers: threads.
        memory_bytes: budget beyond the vocabulary.
        checkpoint_bytes: text between two points from which a killed run goes on.

    Raises:
        ConfigurationError: a value that makes no sense; names it.

    Example:
        >>> from dlrm_pl import PreprocessOptions
        >>> PreprocessOptions(vocabulary="train_only", min_count=10).min_count
        10
    """

    layout: Layout = "terabyte"
    days: int | None = None
    max_ind_range: int = 40_000_000
    subsample_rate: float = 0.0
    randomize: Randomize | None = None
    seed: int = 123
    vocabulary: VocabularyRule = "reference"
    min_count: int = 1
    vocabulary_from: str | os.PathLike[str] | None = None
    bad_rows: float | None = None
    workers: int = dataclasses.field(default_factory=lambda: len(os.sched_getaffinity(0)))
    memory_bytes: int = 2 * GIB
    checkpoint_bytes: int = 4 * GIB

    def __post_init__(self) -> None:
        check_fields(self)
        if self.vocabulary_from is not None:
            object.__setattr__(self, "vocabulary_from", Path(self.vocabulary_from))
        if self.days is not None and self.days < self.least_days:
            raise ConfigurationError(
                f"days={self.days}: at least 2 are needed, one to train on and one to test on; or 1 with "
                "--vocabulary_from, to test on alone."
            )
        if not 0 <= self.subsample_rate < 1:
            raise ConfigurationError(f"subsample_rate={self.subsample_rate} must be at least 0 and below 1.")
        if self.max_ind_range > 1 << 31:
            raise ConfigurationError(f"max_ind_range={self.max_ind_range} must be at most {1 << 31:,}, ids are int32.")
        if not 0 <= self.seed < 1 << 64:
            raise ConfigurationError(f"seed={self.seed} must lie between 0 and {(1 << 64) - 1:,}.")
        if self.bad_rows is not None and not 0 <= self.bad_rows <= 1:
            raise ConfigurationError(f"bad_rows={self.bad_rows} must lie between 0 and 1.")
        if self.checkpoint_bytes < 1:
            raise ConfigurationError(f"checkpoint_bytes={self.checkpoint_bytes} must be at least 1.")
        if self.min_count < 1:
            raise ConfigurationError(f"min_count={self.min_count} must be at least 1.")
        if self.min_count > 1 and self.vocabulary != "train_only":
            raise ConfigurationError(
                f"min_count={self.min_count} needs --vocabulary train_only: the reference keeps all values."
            )
        if self.vocabulary_from is not None and self.vocabulary != "reference":
            raise ConfigurationError(
                "vocabulary_from takes the ids as they are: leave --vocabulary and --min_count out."
            )
        if self.workers < 1:
            raise ConfigurationError(f"workers={self.workers} must be at least 1.")
        if self.memory_bytes < _LEAST_MEMORY:
            raise ConfigurationError(
                f"memory={format_bytes(self.memory_bytes)} must be at least {format_bytes(_LEAST_MEMORY)}."
            )

    def within_memory(self) -> PreprocessOptions:
        """With as many workers as the budget of memory allows, no more than asked for."""
        most = self.memory_bytes // (_THREAD_BYTES + _CHUNK_FACTOR * _SMALL_CHUNK) // 2
        return dataclasses.replace(self, workers=max(1, min(self.workers, most)))

    @property
    def least_days(self) -> int:
        """One to train on and one to test on; with given ids the latter alone makes sense."""
        return 2 if self.vocabulary_from is None else 1

    @property
    def modulus(self) -> int:
        """Number that categories are taken modulo; 0 if they are kept as they are."""
        return max(self.max_ind_range, 0)

    @property
    def reading_threads(self) -> int:
        """Threads that hold a chunk while the logs are read, of which as many run as there are workers."""
        return 2 * self.workers if self.workers > 1 else 1

    @property
    def chunk_bytes(self) -> int:
        """Text that a thread reads at a time: with its columns and records it takes up to nine times as much.

        Each chunk brings the frequent values of all tables into the cache again, so that larger ones are faster.
        """
        chunk = (self.memory_bytes // self.reading_threads - _THREAD_BYTES) // _CHUNK_FACTOR
        return max(_SMALL_CHUNK, min(_MOST_CHUNK // min(self.workers, 2), chunk))

    def bucket_bytes(self, total_bytes: float) -> int:
        """Size of a bucket of keyed records, of which there are ``total_bytes``.

        Small ones stay in the cache and use the same memory again; but there should not be thousands of them, and
        sorted, one takes a bit more than twice its size.
        """
        return int(min(self.memory_bytes / (2.5 * self.workers), max(_SMALL_BUCKET, total_bytes / _MANY_BUCKETS)))

    def key(self) -> dict[str, Any]:
        """What the result depends on, for JSON."""
        run = {"workers", "memory_bytes", "checkpoint_bytes", "vocabulary_from"}
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in run}
        return values | {"vocabulary_from": None if self.vocabulary_from is None else str(self.vocabulary_from)}


def parse_memory(text: str) -> int:
    """``2GiB``, ``512M``, ``1000000`` -> bytes.

    Raises:
        ConfigurationError: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigurationError(f"memory={text!r} must be a number with a unit, for example 2GiB or 512MiB.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def parse_bad_rows(text: str) -> float | None:
    """``stop`` -> None, ``skip:0.001`` -> 0.001.

    Raises:
        ConfigurationError: anything else.
    """
    if text == "stop":
        return None
    match = re.fullmatch(r"skip:(0?\.\d+|0|1|1\.0*)", text)
    if match is None:
        raise ConfigurationError(f"bad_rows={text!r} must be stop, or skip: and a share, for example skip:0.001.")
    return float(match[1])
