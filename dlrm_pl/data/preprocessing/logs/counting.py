"""Count the rows of a raw log before they are read, so that other machines can read the next files meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.chunks import ChunkReader
from dlrm_pl.data.preprocessing.logs.days import Day, reading
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted
from dlrm_pl.data.preprocessing.threads import run_threads
from dlrm_pl.data.raw_logs.diagnosis import open_log

Bools = npt.NDArray[np.bool_]

_BLOCK = 4 << 20


@dataclass(frozen=True)
class RowLabels:
    """Row data that the draw of a sub-sample depends on.

    Attributes:
        clicks: whether each row is a click.
        last: whether each row belongs to the last day.
    """

    clicks: Bools
    last: Bools


def count_lines(day: Day, progress: Callable[[int], None]) -> int:
    """Return the number of lines in a log, without blank ones at its end.

    Args:
        day: a whole file.
        progress: called after each block with its number of bytes of text.

    Raises:
        DataFormatError: the log is missing, truncated or corrupt.
    """
    lines, last_line, content = 0, 0, False
    with reading(day.path), open_log(day.path) as handle:
        while block := handle.read(_BLOCK):
            # Track the last non-blank line, and the line in which the next block begins.
            stripped = block.rstrip(b"\r\n")
            if stripped:
                last_line, content = lines + block.count(b"\n", 0, len(stripped)), True
            lines += block.count(b"\n")
            progress(len(block))
    return last_line + content


def labels_of(
    days: Sequence[Day],
    numbers: range,
    options: PreprocessOptions,
    engine: Engine,
    progress: Callable[[int], None],
) -> RowLabels:
    """Parse a file for the labels of its rows; lines that cannot be parsed do not count as rows.

    Args:
        days: all days of the log.
        numbers: numbers of the days that lie in the file.
        options: options of the run.
        engine: native code or its NumPy fallback.
        progress: called after each chunk with its number of bytes of text.

    Raises:
        DataFormatError: the log is missing, truncated or corrupt.
    """
    columns = options.columns_of_logs
    reader = ChunkReader(days[: numbers.stop], columns, options.chunk_bytes, numbers.start)
    lock, found = threading.Lock(), dict[int, tuple[Bools, Bools]]()

    def parse_chunks() -> None:
        buffer, counted = reader.buffer(), Counted.nothing(columns)
        matrix = np.empty((columns.record_ints, options.chunk_bytes // (columns.record_ints + 1) + 16), np.int32)
        bad = np.empty((2, matrix.shape[1]), np.int64)
        while True:
            with lock:
                chunk = reader.claim(buffer)
            if chunk is None:
                return
            size = reader.load(chunk, buffer)
            rows = engine.parse(
                *(buffer, size, options.modulus, matrix, counted.missing, counted.histogram, counted.largest, bad)
            )[0]
            last = np.full(rows, chunk.day == len(days) - 1)
            with lock:
                found[chunk.index] = matrix[LABEL, :rows] != 0, last
                progress(chunk.size)

    try:
        run_threads([parse_chunks] * options.workers, options.workers)
    finally:
        reader.close()
    chunks = [found[index] for index in range(len(found))]
    return RowLabels(np.concatenate([chunk[0] for chunk in chunks]), np.concatenate([chunk[1] for chunk in chunks]))
