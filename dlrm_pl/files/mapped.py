"""Tensors over part of a file: nothing is read until it is touched, and no file is too large.

Any code that holds a tensor may write to it: an optimizer, ``load_state_dict``, a strategy that gives all ranks the
first rank's weights. With a read-only map, that would end the process, so these are private maps: a page that is
written to is copied first, and the file does not change. ``torch.load(mmap=True)`` and ``torch.from_file`` map a file
in the same way, but Linux counts their maps as memory that may be needed: by default, it refuses to map a file larger
than the machine's memory. A map without a reservation is not counted, whatever its size, unless the system is set to
count every page that could be written to (``vm.overcommit_memory`` 2, ``ulimit -d``). Maps with
``torch.serialization.set_default_mmap_options(mmap.MAP_SHARED)`` are not counted either, but then writes to a tensor
change the file.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dlrm_pl.files.complete_io import read_at

# Reserves no memory for pages that may never be written. This is Linux's value; Python has the name from 3.13 on.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
_MAP_FIXED = 0x10  # Linux's value; Python has no name for it.


def map_elements(descriptor: int, dtype: torch.dtype, count: int, offset: int) -> Tensor:
    """Map elements of an open file, ``[count]``, copied on write.

    Args:
        descriptor: descriptor of the file, which may be closed, renamed or unlinked afterwards, but never cut short.
        dtype: type of the elements.
        count: number of elements, at least one; all of them must lie within the file.
        offset: offset of the first element in bytes, a multiple of the element size.

    Raises:
        OSError: the system refuses the map; the message says how to allow it.
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
            f"the system counts {size:,} bytes of a file as memory, and does not have that much left; set "
            "vm.overcommit_memory to 0 or 1, and `ulimit -d` and `ulimit -v` to unlimited"
        )
        raise OSError(errno.ENOMEM, reason) from error
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=skipped)


class FileRun(NamedTuple):
    """A run of bytes in an open file.

    Attributes:
        descriptor: descriptor of the file.
        offset: offset of the first byte.
        size: number of bytes.
    """

    descriptor: int
    offset: int
    size: int


def map_runs(runs: Sequence[FileRun], dtype: torch.dtype) -> Tensor | None:
    """Map runs of bytes in several files as one contiguous tensor; writes change no file.

    The system maps whole pages. A page that two runs share is read into memory instead. Except for runs shorter than a
    page, each run must therefore begin at the same distance from the start of a page in its file as in the tensor.

    Args:
        runs: one or more runs, which must not be cut short later; together they hold a whole number of elements.
        dtype: type of the elements.

    Returns:
        ``[elements]``; None if the positions of the runs do not allow this.

    Raises:
        OSError: the system refuses the maps, or a file cannot be read.
    """
    page, total = mmap.ALLOCATIONGRANULARITY, sum(run.size for run in runs)
    # A long run determines how far from the start of a page the tensor begins.
    starts = [sum(run.size for run in runs[:number]) for number in range(len(runs))]
    shifts = [(run.offset - start) % page for run, start in zip(runs, starts, strict=True) if run.size >= page]
    if len(set(shifts)) > 1:
        return None
    shift = shifts[0] if shifts else 0
    if shift % dtype.itemsize:
        return None
    access = mmap.PROT_READ | mmap.PROT_WRITE
    memory = mmap.mmap(-1, shift + total, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, prot=access)
    view = memoryview(memory)
    for run, start in zip(runs, starts, strict=True):
        first, last = shift + start, shift + start + run.size
        whole, end = -(-first // page) * page, last // page * page
        if whole >= end:
            whole = end = last
        for begin, stop in ((first, whole), (end, last)):
            if read_at(run.descriptor, view[begin:stop], run.offset + begin - first) < stop - begin:
                raise OSError(errno.EIO, "the file ends before the tensor's bytes do")
        if whole < end:
            _map_over(memory, whole, end - whole, run.descriptor, run.offset + whole - first)
    view.release()
    return torch.frombuffer(memory, dtype=dtype, count=total // dtype.itemsize, offset=shift)


def _map_over(memory: mmap.mmap, start: int, size: int, descriptor: int, offset: int) -> None:
    """Replace some pages of a map with pages of a file; the map continues to own them."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    holder = ctypes.c_char.from_buffer(memory)
    flags = mmap.MAP_PRIVATE | _MAP_NORESERVE | _MAP_FIXED
    access = mmap.PROT_READ | mmap.PROT_WRITE
    placed = libc.mmap(ctypes.addressof(holder) + start, size, access, flags, descriptor, offset)
    if placed == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def map_tensor(path: Path, dtype: torch.dtype, shape: Sequence[int], offset: int = 0) -> Tensor:
    """Map a tensor that is stored row-major in a file; writes do not change the file.

    Raises:
        ValueError: the file is too short.
        OSError: the file cannot be read or mapped.
    """
    count = prod(shape)
    with path.open("rb") as handle:
        end, held = offset + count * dtype.itemsize, handle.seek(0, 2)
        if end > held:
            raise ValueError(f"{path}: bytes {offset} to {end} were requested, but the file has {held}.")
        if not count:
            return torch.empty(*shape, dtype=dtype)
        return map_elements(handle.fileno(), dtype, count, offset).view(*shape)


def madvise(tensor: Tensor, advice: int) -> None:
    """Advise the system how a tensor's memory will be read, with one of ``mmap.MADV_*``; failures are ignored."""
    begin = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    end = tensor.data_ptr() + tensor.numel() * tensor.element_size()
    ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice)
