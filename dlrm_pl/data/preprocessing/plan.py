"""Estimates of the memory, disk space and time of a run, made before it starts."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlrm_pl.data.formats.vocabulary import load_counts
from dlrm_pl.data.preprocessing.engine.native import keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.chunks import ChunkReader
from dlrm_pl.data.preprocessing.logs.days import Day, sampled_line_bytes, text_bytes
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.free_space import require_free_space
from dlrm_pl.files.sizes import format_bytes

_CLICKS = 0.033  # Assumed share of clicks, where it matters little.
_ESTIMATE = 1.15  # Buckets are planned for this many times the expected rows.
# Per value in the tables: slots of 8 bytes, at least 5/16 of which are full, the value and its count; plus a share of
# the table that is being written, which is copied.
_VOCABULARY_BYTES = {"native": 34 + 6, "numpy": 100 + 40}
_GIVEN_BYTES = 24  # Per value of a given vocabulary: its raw value, sorted and with its order.
_MOST_VALUES = 200_000_000  # As in the Terabyte logs, with ids capped at 40 million.
_PARSING_SHARE = 0.25  # Share of parsing in the time per row.
_SPARE_FILES = 64


@dataclass(frozen=True)
class Plan:
    """Estimated sizes and time of a run, made before it starts.

    Attributes:
        days: number of days.
        text_bytes: size of the unpacked text of all days; for files with named columns, the size of the files.
        rows: number of rows of all days.
        buckets: number of files to scatter the training rows into, for all days together or for each training day.
        disk_bytes: disk space at the peak, including the output.
        output_bytes: disk space of the output.
        program_bytes: memory of the program before it starts.
        budget_bytes: memory budget that the user chose.
        vocabulary_bytes: memory of the vocabulary.
        seconds: time from start to end if the processors limit it.
        rows_of_days: number of rows of each day.
        bytes_of_value: memory of a value in the vocabulary.
    """

    days: int
    text_bytes: int
    rows: int
    buckets: list[int]
    disk_bytes: int
    output_bytes: int
    program_bytes: int
    budget_bytes: int
    vocabulary_bytes: int
    seconds: float
    rows_of_days: tuple[int, ...] = ()
    bytes_of_value: int = 0

    def memory_of_day(self, day: int) -> int:
        """Return the peak memory if one day is read by itself."""
        values = min(2 * self.rows_of_days[day], _MOST_VALUES)
        return self.program_bytes + self.budget_bytes + min(self.vocabulary_bytes, self.bytes_of_value * values)

    @property
    def memory_bytes(self) -> int:
        """Peak memory in bytes."""
        return self.program_bytes + self.budget_bytes + self.vocabulary_bytes

    def __str__(self) -> str:
        """Return the plan as one line."""
        minutes = f"{self.seconds / 60:.0f} minutes" if self.seconds >= 90 else f"{max(self.seconds, 1):.0f} s"
        days = f"{self.days} day{'s'[: self.days != 1]}"
        return (
            f"plan: {days}, about {self.rows:,} rows ({format_bytes(self.text_bytes)}); disk "
            f"{format_bytes(self.disk_bytes)} at the peak, {format_bytes(self.output_bytes)} at the end; memory up to "
            f"{format_bytes(self.memory_bytes)} ({format_bytes(self.budget_bytes)} by --memory, the vocabulary "
            f"{format_bytes(self.vocabulary_bytes)}, the program {format_bytes(self.program_bytes)}); about {minutes} "
            "if the disk keeps up"
        )


def make_plan(days: Sequence[Day], options: PreprocessOptions, engine: Engine) -> Plan:
    """Estimate a run from the sizes of the files and their first lines.

    Raises:
        ConfigurationError: the memory budget would need more files than a process may open.
    """
    sizes = [text_bytes(day) for day in days]
    line_bytes = sampled_line_bytes(days)
    rows = [size / line_bytes for size in sizes]
    speed = _parsing_speed(days, options, engine) * _PARSING_SHARE * options.workers
    return plan_of(rows, sum(sizes), options, engine, sum(sizes) / speed)


def plan_of(rows: Sequence[float], size_bytes: int, options: PreprocessOptions, engine: Engine, seconds: float) -> Plan:
    """Estimate a run from its number of rows.

    Args:
        rows: approximate number of rows of each day.
        size_bytes: size of the log.
        options: options of the run.
        engine: native code or its NumPy fallback.
        seconds: time that the run will take.

    Raises:
        ConfigurationError: the memory budget would need more files than a process may open.
    """
    kept = 1 - options.subsample_rate * (1 - _CLICKS)
    train, last = sum(rows[:-1]) * kept, rows[-1] * kept
    ordered = options.randomize == "none"
    record = options.columns_of_logs.record_bytes
    keyed = record if ordered else keyed_dtype(options.columns_of_logs.record_ints).itemsize
    parts = [sum(rows[:-1])] if options.randomize == "total" else rows[:-1]
    bucket = options.bucket_bytes(train * keyed)
    buckets = [] if ordered else [1 + int(part * kept * keyed * _ESTIMATE / bucket) for part in parts]
    allow_files(sum(buckets))
    # A merged bucket is deleted when the next checkpoint covers its contents.
    unsaved = min(train * record, options.checkpoint_bytes + 2 * options.workers * bucket)
    values = min(sum(rows) * 2, _MOST_VALUES)
    vocabulary_bytes = _VOCABULARY_BYTES[engine.name] * values
    if options.vocabulary_from is not None:
        values = sum(load_counts(Path(options.vocabulary_from), options.columns_of_logs))
        vocabulary_bytes = (_VOCABULARY_BYTES[engine.name] + _GIVEN_BYTES) * values
    output = sum(rows) * kept * record + 4 * values
    disk = train * keyed + (train * record if ordered else unsaved) + 2 * last * record + 12 * values
    return Plan(
        days=len(rows),
        text_bytes=size_bytes,
        rows=int(sum(rows)),
        buckets=buckets,
        disk_bytes=int(max(disk, output)),
        output_bytes=int(output),
        program_bytes=_resident_bytes(),
        budget_bytes=options.memory_bytes,
        vocabulary_bytes=int(vocabulary_bytes),
        seconds=seconds,
        rows_of_days=tuple(map(int, rows)),
        bytes_of_value=_VOCABULARY_BYTES[engine.name],
    )


def require_disk(peak_bytes: int, output_bytes: int, folder: Path, already_bytes: int) -> None:
    """Check that the disk has space for the output and the temporary files.

    Args:
        peak_bytes: disk space at the peak.
        output_bytes: disk space of the output, which is part of the peak.
        folder: parent folder of the output.
        already_bytes: disk space that an unfinished run already takes.

    Raises:
        OutputError: there is too little space; the message states both sizes.
    """
    require_free_space(
        folder,
        peak_bytes - already_bytes,
        f"temporary files, and {format_bytes(output_bytes)} of output,",
        "Choose a folder on a larger disk, or drop non-clicks of raw logs with --subsample_rate.",
    )


def allow_files(buckets: int) -> None:
    """Raise this process's limit on open files to one per bucket and some more.

    Raises:
        ConfigurationError: the system does not allow that many files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = buckets + _SPARE_FILES
    if needed > hard != resource.RLIM_INFINITY:
        raise ConfigurationError(
            f"{buckets} buckets are needed, but a process may only open {hard} files here. Raise --memory, use fewer "
            "--threads, or raise the limit (ulimit -Hn)."
        )
    if needed > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _parsing_speed(days: Sequence[Day], options: PreprocessOptions, engine: Engine) -> float:
    """Return the bytes of text parsed per second, measured on the first chunk."""
    reader = ChunkReader(days, options.columns_of_logs, 1 << 20)
    buffer = reader.buffer()
    try:
        chunk = reader.claim(buffer)
        assert chunk is not None
        size = reader.load(chunk, buffer)
    finally:
        reader.close()
    record_ints = options.columns_of_logs.record_ints
    matrix = np.empty((record_ints, size // record_ints + 16), np.int32)
    counted = Counted.nothing(options.columns_of_logs)
    bad = np.empty((2, matrix.shape[1]), np.int64)
    seconds = 0.0
    for _ in range(2):  # The first pass touches new memory.
        began = time.perf_counter()
        engine.parse(buffer, size, options.modulus, matrix, counted.missing, counted.histogram, counted.largest, bad)
        seconds = time.perf_counter() - began
    return max(size, 1) / seconds


def _resident_bytes() -> int:
    """Return the resident memory of this process, from the pages that the system states."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
