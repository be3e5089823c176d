"""A sample of rows from throughout a file, of bounded size, the same each time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MOST_ROWS = 1 << 18
"""Maximum number of rows in a sample: shares estimated from it have a standard error below 0.1 %."""

MOST_BYTES = 64 << 20
"""Maximum size of the records of a sample, in bytes."""

SEED = 0
_BLOCK_ROWS = 512


def sample_size(num_rows: int, row_bytes: int) -> int:
    """Return how many of the rows a sample has: all, or as many whole blocks as the limits allow.

    Args:
        num_rows: total number of rows.
        row_bytes: size of a row in bytes.

    Example:
        >>> sample_size(1000, 160), sample_size(10**9, 160)
        (1000, 262144)
    """
    most = max(1, min(MOST_ROWS, MOST_BYTES // row_bytes))
    if num_rows <= most:
        return num_rows
    block = min(_BLOCK_ROWS, most)
    return most // block * block


def sampled_rows(num_rows: int, size: int) -> Iterator[slice]:
    """Yield blocks of rows: one at a random position in each of several equal parts of the file.

    Args:
        num_rows: total number of rows.
        size: number of rows in the sample, as returned by ``sample_size``.
    """
    if size >= num_rows:
        for first in range(0, num_rows, _BLOCK_ROWS):
            yield slice(first, min(first + _BLOCK_ROWS, num_rows))
        return
    block = min(_BLOCK_ROWS, size)
    blocks = size // block
    places = np.random.default_rng(SEED).random(blocks)
    for number, place in enumerate(places):
        start, stop = (num_rows * at // blocks for at in (number, number + 1))
        first = start + int(place * (stop - start - block + 1))
        yield slice(first, first + block)
