"""Options of ``preprocess``, checked, and the chunk and bucket sizes that follow from them."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dlrm_pl.columns.columns import Columns
from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.sizes import GIB, format_bytes

Layout = Literal["terabyte", "kaggle"]
Randomize = Literal["total", "day", "none"]
VocabularyRule = Literal["reference", "train_only"]
Flavor = Literal["upstream", "torchrec"]

DEFAULT_CAP = 40_000_000
"""Default of ``max_ind_range``."""

KAGGLE_DAYS = 7
"""Number of days that the log of Criteo's Kaggle challenge is cut into."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": GIB, "T": 1 << 40}
_LEAST_MEMORY = 16 << 20
_SMALL_BUCKET = 32 << 20
_SMALL_CHUNK = 64 << 10
_MOST_CHUNK = 8 << 20
_CHUNK_FACTOR = 10
_BESIDE_CHUNK = 1 << 20  # A histogram, a thread's stack, and a share of the allocator's memory.
_MANY_BUCKETS = 512


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    """Options of ``preprocess``: those that affect the result, and those that only affect the run.

    Attributes:
        columns: columns of the logs; None for those of ``vocabulary_from``, or else Criteo's.
        flavor: ``upstream`` for a dataset folder with the ids of facebookresearch/dlrm; ``torchrec`` for days in
            TorchRec's format, with the bytes that its scripts write: ids from 2, negative numbers, no cap.
        layout: ``terabyte`` for one file per day; ``kaggle`` for one file that is divided into days.
        split_by: how the rows of files with named columns are divided into days: ``files``: each file is a day;
            ``rows``: ``days`` equal parts; or the name of a column, each value of which is a day; ``NAME[:6]`` takes
            the first 6 characters. None means ``files`` if there are several, otherwise ``rows``.
        days: number of days; None for 7 with ``kaggle`` and ``rows``, otherwise for all days that are there.
        max_ind_range: raw categories are taken modulo this number; 0 or less leaves them unchanged.
        subsample_rate: share of the non-clicks of all days that is dropped, as upstream does.
        randomize: order of the training rows: ``total`` shuffles all days together, ``day`` each day by itself,
            ``none`` keeps the order of the logs. None means ``total`` with raw logs, and ``none`` with upstream's
            files.
        seed: random seed for the order and the subsample.
        vocabulary: ``reference`` numbers the categories of all days, including the test day, as upstream does;
            ``train_only`` numbers those of all days except the last, and gives all other values row 0 of their table.
        min_count: values with fewer training rows than this get row 0 as well (``train_only``); 1 keeps all values.
            With flavor ``torchrec``, values with fewer rows over all days get id 1.
        vocabulary_from: dataset folder whose ids are used instead of new ones.
        truncate_lists: truncate lists that are longer than their column allows, instead of refusing their rows.
        bad_rows: share of rows that may be left out because they cannot be parsed; None stops at the first bad row.
        workers: number of threads that parse, number and sort at once.
        memory_bytes: memory budget, not counting the vocabulary.
        checkpoint_bytes: bytes of text between two checkpoints from which a killed run resumes.

    Raises:
        ConfigurationError: a value is out of range or has the wrong type, or options contradict each other.

    Example:
        >>> from dlrm_pl import PreprocessOptions
        >>> PreprocessOptions(vocabulary="train_only", min_count=10).min_count
        10
    """

    columns: Columns | None = None
    flavor: Flavor = "upstream"
    layout: Layout = "terabyte"
    split_by: str | None = None
    days: int | None = None
    max_ind_range: int = DEFAULT_CAP
    subsample_rate: float = 0.0
    randomize: Randomize | None = None
    seed: int = 123
    vocabulary: VocabularyRule = "reference"
    min_count: int = 1
    vocabulary_from: str | os.PathLike[str] | None = None
    truncate_lists: bool = False
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
                f"days={self.days}: at least 2 are needed, one for training and one for testing; with "
                "--vocabulary_from, 1 is enough, for testing only."
            )
        if self.split_by is not None:
            # Imported here, so that runs on raw logs do not load the readers of other files.
            from dlrm_pl.data.sources.days import parse_split_by

            parse_split_by(self.split_by)
            if self.layout == "kaggle":
                raise ConfigurationError(
                    f"split_by={self.split_by} is for files with named columns; --layout kaggle cuts a raw log."
                )
        if not 0 <= self.subsample_rate < 1:
            raise ConfigurationError(f"subsample_rate={self.subsample_rate} must be at least 0 and below 1.")
        if self.max_ind_range > 1 << 31:
            raise ConfigurationError(
                f"max_ind_range={self.max_ind_range} must be at most {1 << 31:,}, since ids are int32."
            )
        if self.max_ind_range not in (DEFAULT_CAP, 0, -1) and not self.columns_of_logs.has_hex_vocabulary:
            raise ConfigurationError(
                f"max_ind_range={self.max_ind_range} is for hex columns with a vocabulary, but there are none. "
                "Leave it out; ids: hash or modulo limits the rows of other columns."
            )
        if not 0 <= self.seed < 1 << 64:
            raise ConfigurationError(f"seed={self.seed} must be between 0 and {(1 << 64) - 1:,}.")
        if self.bad_rows is not None and not 0 <= self.bad_rows <= 1:
            raise ConfigurationError(f"bad_rows={self.bad_rows} must be between 0 and 1.")
        if self.checkpoint_bytes < 1:
            raise ConfigurationError(f"checkpoint_bytes={self.checkpoint_bytes} must be at least 1.")
        if self.min_count < 1:
            raise ConfigurationError(f"min_count={self.min_count} must be at least 1.")
        if self.flavor == "torchrec":
            self._check_torchrec()
        elif self.min_count > 1 and self.vocabulary != "train_only":
            raise ConfigurationError(
                f"min_count={self.min_count} needs --vocabulary train_only; the reference vocabulary, upstream's, "
                "keeps all values."
            )
        if self.vocabulary_from is not None and self.vocabulary != "reference":
            raise ConfigurationError(
                "vocabulary_from uses existing ids unchanged. Remove --vocabulary and --min_count."
            )
        if self.workers < 1:
            raise ConfigurationError(f"workers={self.workers} (--threads) must be at least 1.")
        if self.memory_bytes < _LEAST_MEMORY:
            raise ConfigurationError(
                f"memory={format_bytes(self.memory_bytes)} must be at least {format_bytes(_LEAST_MEMORY)}."
            )

    def _check_torchrec(self) -> None:
        """Refuse options that TorchRec's scripts do not have."""
        own = PreprocessOptions()
        for name in ("layout", "split_by", "subsample_rate", "vocabulary", "vocabulary_from", "truncate_lists"):
            if getattr(self, name) != getattr(own, name):
                raise ConfigurationError(
                    f"{name}={getattr(self, name)} is for --flavor upstream; TorchRec's days contain all rows of the "
                    "day files, and ids for the values of all days. Leave it out."
                )
        if self.max_ind_range not in (DEFAULT_CAP, 0, -1):
            raise ConfigurationError(
                f"max_ind_range={self.max_ind_range} is for --flavor upstream; ids of TorchRec's days are taken modulo "
                "data.table_sizes when they are read. Leave it out."
            )
        object.__setattr__(self, "max_ind_range", 0)
        if self.randomize == "day":
            raise ConfigurationError(
                "randomize=day is not available with --flavor torchrec: TorchRec shuffles over all days (total) or "
                "not at all (none)."
            )
        if self.seed >= 1 << 32:
            raise ConfigurationError(
                f"seed={self.seed} must be below {1 << 32:,}, the limit of NumPy's legacy generator."
            )
        if not self.columns_of_logs.has_raw_text:
            raise ConfigurationError(
                f"Column {self.columns_of_logs.not_raw_text}: with --flavor torchrec, columns must be integers with "
                "transform log1p, or hexadecimal values with a vocabulary."
            )

    def within_memory(self) -> PreprocessOptions:
        """Return the options with the number of workers reduced to fit the memory budget."""
        most = self.memory_bytes // (_BESIDE_CHUNK + _CHUNK_FACTOR * _SMALL_CHUNK) // 2
        return dataclasses.replace(self, workers=max(1, min(self.workers, most)))

    @property
    def least_days(self) -> int:
        """Minimum number of days: one for training and one for testing; only the latter with ``vocabulary_from``."""
        return 2 if self.vocabulary_from is None else 1

    @property
    def columns_of_logs(self) -> Columns:
        """The given columns, or the default ones."""
        return self.columns or Columns.criteo()

    @property
    def modulus(self) -> int:
        """Modulus of the categories; 0 if they are unchanged."""
        return max(self.max_ind_range, 0)

    @property
    def chunks_in_memory(self) -> int:
        """Number of chunks in memory while logs are read; at most ``workers`` of them are being processed."""
        return 2 * self.workers if self.workers > 1 else 1

    @property
    def chunk_bytes(self) -> int:
        """Bytes of text read at a time; with its columns and records, a chunk takes up to nine times as much.

        Each chunk has to load the frequent values of all tables into the cache again, so larger chunks are faster.
        """
        chunk = (self.memory_bytes // self.chunks_in_memory - _BESIDE_CHUNK) // _CHUNK_FACTOR
        return max(_SMALL_CHUNK, min(_MOST_CHUNK, chunk))

    def bucket_bytes(self, total_bytes: float) -> int:
        """Return the size of a bucket, in bytes, for ``total_bytes`` of keyed records.

        Small buckets stay in the cache and reuse the same memory, but there should not be thousands of them. Sorting a
        bucket takes a bit more than twice its size in memory.
        """
        return int(min(self.memory_bytes / (2.5 * self.workers), max(_SMALL_BUCKET, total_bytes / _MANY_BUCKETS)))

    def key(self) -> dict[str, Any]:
        """Return the options that the result depends on, as JSON values."""
        run = {"workers", "memory_bytes", "checkpoint_bytes"}
        names = [field.name for field in dataclasses.fields(self) if field.name not in run]
        values = {name: getattr(self, name) for name in names}
        given = values.pop("vocabulary_from")
        values["vocabulary_from"] = None if given is None else str(given)
        # Defaults are left out, so that datasets of earlier versions are recognized.
        columns = self.columns_of_logs
        for name in ("split_by", "truncate_lists"):
            if not values[name]:
                del values[name]
        if self.flavor == "upstream":
            del values["flavor"]
        if columns.is_criteo:
            del values["columns"]
        else:
            values["columns"] = columns.statement()
        return values


def parse_memory(text: str) -> int:
    """Return the number of bytes that ``2GiB``, ``512M`` or ``1000000`` stands for.

    Raises:
        ConfigurationError: the text does not have this form.
    """
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigurationError(f"memory={text!r} must be a number with a unit, for example 2GiB or 512MiB.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def parse_bad_rows(text: str) -> float | None:
    """Return the share that ``skip:0.001`` allows, or None for ``stop``.

    Raises:
        ConfigurationError: the text does not have this form.
    """
    if text == "stop":
        return None
    match = re.fullmatch(r"skip:(0?\.\d+|0|1|1\.0*)", text)
    if match is None:
        raise ConfigurationError(
            f"bad_rows={text!r} must be stop, or skip: followed by a share, for example skip:0.001."
        )
    return float(match[1])
