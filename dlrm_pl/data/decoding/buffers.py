"""Reuse the memory of batches: the first use of a page costs more than writing the values into it."""

from __future__ import annotations

import weakref

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_MOST_FREE = 4
"""Maximum number of unused arrays of each kind that are kept."""


class Buffers:
    """Makes tensors in the memory of earlier ones, once nothing refers to those or to views of them.

    The C library returns memory that a thread frees to the system, so without reuse, each batch of a megabyte would be
    written to fresh pages. Only one thread at a time may use an object; any thread may drop tensors.
    """

    def __init__(self) -> None:
        self._free: dict[str, list[npt.NDArray[np.generic]]] = {}

    def empty(self, kind: str, count: int, dtype: npt.DTypeLike) -> Tensor:
        """Return an uninitialized tensor ``[count]``.

        Args:
            kind: what the tensor holds; tensors of a kind have about the same size, and the same dtype.
            count: number of values.
            dtype: type of the values.
        """
        free = self._free.setdefault(kind, [])
        array = free.pop() if free else np.empty(0, dtype)
        if array.size < count:
            array = np.empty(count, dtype)
        # Only the tensor's storage keeps this view alive, so the view is finalized when the storage is freed.
        view = array[:count]
        tensor = torch.from_numpy(view)
        weakref.finalize(view, _give_back, free, array).atexit = False
        return tensor


def _give_back(free: list[npt.NDArray[np.generic]], array: npt.NDArray[np.generic]) -> None:
    if len(free) < _MOST_FREE:
        free.append(array)
