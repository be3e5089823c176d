"""Order of ``numpy.random.shuffle`` in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.errors import ConfigurationError

Array = npt.NDArray[Any]

MOST_ROWS = (1 << 32) - 1
_STEP_BYTES = 64
"""Memory of a swap, including the index of the values that it needs."""
_TOGETHER = 1 << 20


def places_in_order(folder: Path, rows: int, seed: int, engine: Engine, memory_bytes: int) -> Array:
    """Return the position that ``numpy.random.shuffle`` gives to each of some rows after ``numpy.random.seed``.

    ``shuffle`` swaps each row, from the last to the second, with a random row that is not after it; the choice depends
    only on the number of rows. So row numbers, 4 bytes each, are shuffled in a mapped file instead of the rows
    themselves. This is done for several swaps at a time, whose values are read and written back in the order of the
    file.

    Args:
        folder: folder for the files.
        rows: number of rows.
        seed: seed of the generator.
        engine: native code or its NumPy fallback.
        memory_bytes: memory for everything that is not in the files.

    Returns:
        uint32 ``[rows]``, in a mapped file.

    Raises:
        ConfigurationError: there are 2**32 rows or more, for which NumPy draws its random numbers differently.
    """
    if rows > MOST_ROWS:
        raise ConfigurationError(
            f"{rows:,} rows are more than {MOST_ROWS:,}, the most that can be shuffled. Give --randomize none."
        )
    order = _mapped(folder / "order.bin", rows)
    for first in range(0, rows, _TOGETHER):
        order[first : first + _TOGETHER] = np.arange(first, min(first + _TOGETHER, rows), dtype=np.uint32)
    generator, together = np.random.RandomState(seed), max(1, memory_bytes // _STEP_BYTES)
    for stop in range(rows, 1, -together):
        _swap(order, max(1, stop - together), stop, generator, engine)
    places = _mapped(folder / "places.bin", rows)
    together = max(1, memory_bytes // 4)
    for first in range(0, rows, together):
        _invert(order, places, first, min(first + together, rows))
    (folder / "order.bin").unlink()
    return places


def _mapped(path: Path, rows: int) -> Array:
    # A plain array, since slicing a memmap takes NumPy longer.
    return np.memmap(path, np.uint32, "w+", shape=(rows,)).view(np.ndarray)


def _swap(order: Array, start: int, stop: int, generator: np.random.RandomState, engine: Engine) -> None:
    """Do the swaps of the rows from ``stop - 1`` down to ``start``."""
    # Drawing integers below these bounds gives the same numbers as the shuffle.
    drawn = generator.randint(0, np.arange(stop, start, -1, dtype=np.int64))
    in_front = drawn < start
    others, found = np.unique(drawn[in_front], return_inverse=True)
    values = np.concatenate([order[others], order[start:stop]])
    targets = drawn - start + len(others)
    targets[in_front] = found
    engine.swap(values, targets)
    order[others] = values[: len(others)]
    order[start:stop] = values[len(others) :]


def _invert(order: Array, places: Array, start: int, stop: int) -> None:
    """Write the places of the rows from ``start`` to ``stop - 1``."""
    found = np.empty(stop - start, np.uint32)
    for first in range(0, len(order), _TOGETHER):
        some = order[first : first + _TOGETHER]
        chosen = np.flatnonzero((some >= start) & (some < stop))
        found[some[chosen] - np.uint32(start)] = (first + chosen).astype(np.uint32)
    places[start:stop] = found
