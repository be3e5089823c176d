"""Tensors over a part of a file: nothing is read until it is touched, and no file is too large.

Whoever holds a tensor may write to it: an optimizer, ``load_state_dict``, a strategy that gives all ranks the weights
of the first. A read-only map would end the process there, so these are private maps: a page that is written to is
copied first, and the file stays as it is. ``torch.load(mmap=True)`` and ``torch.from_file`` map a file in the same way,
but Linux counts theirs as memory that may be needed: by its default rules it refuses to map a file larger than the
machine's memory. A map without a reservation is not counted, whatever its size, but where the system is set to count
every page that could be written to (``vm.overcommit_memory`` 2, ``ulimit -d``).
``torch.serialization.set_default_mmap_options(mmap.MAP_SHARED)`` is not counted either, but writes to a tensor then go
to the file.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

# No memory is set aside for pages that may never be written. Linux's value; Python has the name from 3.13 on.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def map_elements(descriptor: int, dtype: torch.dtype, count: int, offset: int) -> Tensor:
    """Map elements of an open file, ``[count]``, copied on write.

    Args:
        descriptor: of the file, which may be closed, renamed or unlinked afterwards, but never cut short.
        dtype: of the elements.
        count: how many, at least one; all of them must lie within the file.
        offset: of the first, in bytes, a multiple of the size of an element.

    Raises:
        OSError: the system refuses the map; says how to let it.
    """
    skipped = offset % mmap.ALLOCATIONGRANULARITY
    size = skipped + count * dtype.itemsize
    flags, access = mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
    try:
        memory = mmap.mmap(descriptor, size, flags=flags, prot=access, offset=offset - skipped)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        reason = (
            f"the system counts {size:,} bytes of a file as memory and has not so much left; set vm.overcommit_memory "
            "to 0 or 1, and `ulimit -d` and `ulimit -v` to unlimited"
        )
        raise OSError(errno.ENOMEM, reason) from error
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=skipped)


def map_tensor(path: Path, dtype: torch.dtype, shape: Sequence[int], offset: int = 0) -> Tensor:
    """Map a tensor that is stored row-major in a file; writes do not change the file.

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


def madvise(tensor: Tensor, advice: int) -> None:
    """Advise the system how a tensor's memory will be read, by one of ``mmap.MADV_*``; a failure is ignored."""
    begin = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    end = tensor.data_ptr() + tensor.numel() * tensor.element_size()
    ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice)
