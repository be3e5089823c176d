"""Restore large pages for tensors whose memory was shared with a child process.

When training changes a row while a child process shares its memory, Linux splits the 2 MiB page and copies 4 KiB of it.
Afterwards the rest of the large page is neither used nor free, and rows in random order take longer to find (measured:
a step took 1.3 times as long). Here the pages are put together again, some at a time between steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from functools import cache
from typing import Any

_COLLAPSE = 25  # MADV_COLLAPSE, since Linux 6.1; earlier versions refuse it, and merge pages over time.
_PAGE = 2 << 20
_AT_ONCE = 16 * _PAGE
"""Number of bytes put on large pages at a time; measured at 3.3 GB/s, so this takes 10 ms."""
_SMALLEST = 16 * _PAGE


class LargePages:
    """Memory of tensors that is to be put on large pages.

    Args:
        memory: address and size of each tensor.
    """

    def __init__(self, memory: Iterable[tuple[int, int]]) -> None:
        self._left = []
        for start, size in memory:
            first, last = -(-start // _PAGE) * _PAGE, (start + size) // _PAGE * _PAGE
            if size >= _SMALLEST:
                self._left += [(at, min(_AT_ONCE, last - at)) for at in range(first, last, _AT_ONCE)]

    def restore(self) -> bool:
        """Put part of the memory on large pages.

        Returns:
            Whether there is more to do.
        """
        if self._left:
            start, size = self._left.pop()
            _madvise()(start, size, _COLLAPSE)  # Refused where it is impossible, as for maps of files.
        return bool(self._left)


@cache
def _madvise() -> Any:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
