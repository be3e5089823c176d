"""Tensors over a part of a file: nothing is read until it is touched, and no file is too large.

``torch.load(mmap=True)`` and ``torch.from_file`` map a file writable and private, which Linux counts as memory that
may be needed: by its default rules it refuses to map a file larger than the machine's memory. A read-only map is not
counted, whatever its size.
"""

from __future__ import annotations

import ctypes
import mmap
import warnings
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

# No memory is set aside for pages that may never be written. Linux's value; Python has the name from 3.13 on.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def map_elements(
    descriptor: int, dtype: torch.dtype, count: int, offset: int, *, copy_on_write: bool = False
) -> Tensor:
    """Map elements of an open file, ``[count]``.

    Args:
        descriptor: of the file, which may be closed, renamed or unlinked afterwards, but never cut short.
        dtype: of the elements.
        count: how many, at least one; all of them must lie within the file.
        offset: of the first, in bytes, a multiple of the size of an element.
        copy_on_write: the tensor may be written to; the file stays as it is, and pages that were written to take
            memory. Without it, writing to the tensor ends the process.

    Raises:
        OSError: the system refuses the map.
    """
    skipped = offset % mmap.ALLOCATIONGRANULARITY
    flags, access = mmap.MAP_SHARED, mmap.PROT_READ
    if copy_on_write:
        flags, access = mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
    size = skipped + count * dtype.itemsize
    memory = mmap.mmap(descriptor, size, flags=flags, prot=access, offset=offset - skipped)
    with warnings.catch_warnings():
        # That writing to it is an error is known.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(memory, dtype=dtype, count=count, offset=skipped)


def map_tensor(path: Path, dtype: torch.dtype, shape: Sequence[int], offset: int = 0) -> Tensor:
    """Map a tensor that lies row-major in a file, read-only.

    Raises:
        ValueError: the file does not hold so many bytes.
        OSError: it cannot be read or mapped.
    """
    count = prod(shape)
    with path.open("rb") as handle:
        end, held = offset + count * dtype.itemsize, handle.seek(0, 2)
        if end > held:
            raise ValueError(f"{path}: bytes {offset} to {end} were asked for, the file has {held}.")
        if not count:
            return torch.empty(*shape, dtype=dtype)
        return map_elements(handle.fileno(), dtype, count, offset).view(*shape)


def expect(tensor: Tensor, advice: int) -> None:
    """Tell the system how memory will be read, by one of ``mmap.MADV_*``; only a hint, so it may fail."""
    begin = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    end = tensor.data_ptr() + tensor.numel() * tensor.element_size()
    ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice)
