"""Check NumPy arrays whose addresses are passed to native functions, which see neither dtype nor length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.errors import ShapeError


def address(
    name: str, array: npt.NDArray[np.generic], dtype: np.dtype[np.generic], *shape: int | None, written: bool = False
) -> int:
    """Return the address of an array, after checking everything that a native function relies on.

    Args:
        name: name of the array in an error.
        array: array that is passed.
        dtype: type that the function reads or writes.
        shape: lengths that the function relies on; None allows any length.
        written: whether the function writes to the array.

    Raises:
        ShapeError: the array has another type or shape, has gaps, or cannot be written.
    """
    # Called for every column of every block: a loop is faster than a generator, and the dtype is usually the same
    # object.
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
    """Raise ShapeError unless ``needed`` values, 0 or more, fit into the ``there`` available ones."""
    if not 0 <= needed <= there:
        raise ShapeError(f"{name}: {needed:,} do not fit into {there:,}.")
