"""NumPy arrays as native functions take them: nothing but an address is handed over, so all else is checked here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.errors import ShapeError


def address(
    name: str, array: npt.NDArray[np.generic], dtype: np.dtype[np.generic], *shape: int | None, written: bool = False
) -> int:
    """Where an array begins.

    Args:
        name: for the message.
        array: handed over.
        dtype: that the function reads or writes.
        shape: that it relies on; None: any length.
        written: it writes there.

    Raises:
        ShapeError: the array is of another type or shape, has gaps, or cannot be written.
    """
    # Called for every column of every block: a loop is faster than a generator, and the same object is the usual dtype.
    found = array.dtype
    fits = len(shape) == array.ndim and (found is dtype or found == dtype)
    for wanted, length in zip(shape, array.shape, strict=False):
        fits &= wanted is None or wanted == length
    flags = array.flags
    if not fits or not flags.c_contiguous or (written and not flags.writeable):
        lengths = ["any" if length is None else length for length in shape]
        kind = f"{'a writable' if written else 'an'} array of {dtype} {lengths} without gaps"
        raise ShapeError(
            f"{name}: {kind} is needed, got {found} {list(array.shape)}"
            f"{'' if flags.c_contiguous else ' with gaps'}"
            f"{'' if flags.writeable else ' that cannot be written'}."
        )
    return array.ctypes.data


def check_room(name: str, needed: int, there: int) -> None:
    """Raise ShapeError unless ``needed`` is from 0 to ``there``."""
    if not 0 <= needed <= there:
        raise ShapeError(f"{name}: {needed:,} do not fit into {there:,}.")
