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

# Linux: no memory is set aside for pages that may never be written. In Python's mmap module from 3.13 on.
_MAP_NORESERVE = 0x4000


def map_tensor(
    path: Path, dtype: torch.dtype, shape: Sequence[int], offset: int = 0, *, copy_on_write: bool = False
) -> Tensor:
    """Map a tensor that lies row-major in a file.

    Args:
        path: the file, which may be renamed or unlinked afterwards, but never cut short.
        dtype: of the tensor.
        shape: of the tensor.
        offset: in bytes, a multiple of the size of an element.
        copy_on_write: the tensor may be written to; the file stays as it is, and pages that were written to take
            memory. Without it, writing to the tensor ends the process.

    Raises:
        ValueError: the file does not hold so many bytes.
        OSError: it cannot be read or mapped.
    """
    size = prod(shape) * dtype.itemsize
    with path.open("rb") as handle:
        held = handle.seek(0, 2)
        if offset < 0 or offset + size > held:
            raise ValueError(f"{path}: bytes {offset} to {offset + size} were asked for, the file has {held}.")
        if not size:
            return torch.empty(*shape, dtype=dtype)
        begin = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        if copy_on_write:
            flags, protection = mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        else:
            flags, protection = mmap.MAP_SHARED, mmap.PROT_READ
        memory = mmap.mmap(handle.fileno(), offset + size - begin, flags=flags, prot=protection, offset=begin)
    with warnings.catch_warnings():
        # That writing to it is an error is known.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(memory, dtype=dtype, count=prod(shape), offset=offset - begin).view(*shape)


def expect(tensor: Tensor, advice: int) -> None:
    """Tell the system how memory will be read, by one of ``mmap.MADV_*``; only a hint, so it may fail."""
    begin = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    end = tensor.data_ptr() + tensor.numel() * tensor.element_size()
    ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice)
