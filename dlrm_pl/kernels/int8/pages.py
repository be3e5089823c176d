"""Memory of tables: 2 MiB pages, and files that are read ahead.

Rows are read at random. With pages of 4 KiB, the processor spends more time on finding a page than on reading the row:
26 instead of 45 million rows per second were measured. On request, Linux gives larger pages to a process's own memory
(where ``transparent_hugepage`` is ``madvise``, the usual setting, or ``always``), but not to mapped files.
"""

from __future__ import annotations

import mmap
from typing import Literal

import torch
from torch import Tensor

from dlrm_pl.files.mapped import madvise

Pages = Literal["mapped", "prefault", "huge"]
"""How tables of a file are held in memory: mapped and read on first use, mapped and read ahead, or copied to 2 MiB
pages."""

_HUGE = 2 << 20
_LARGE = 1 << 30  # Smaller tables are soon entirely in memory, and Linux's read-ahead speeds this up.


def empty_table(rows: int, row_size: int) -> Tensor:
    """Make a zeroed uint8 ``[rows, row_size]``, on 2 MiB pages if it is large and the system has them."""
    size = rows * row_size
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if size < _HUGE or advice is None:
        return torch.zeros(rows, row_size, dtype=torch.uint8)
    memory = mmap.mmap(-1, size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(advice)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    first = -whole.data_ptr() % _HUGE
    return whole[first : first + size].view(rows, row_size)


def place(table: Tensor, pages: Pages) -> Tensor:
    """Keep a table of a mapped file in memory as ``pages`` says; its contents stay the same."""
    if pages == "huge":
        flat = table.view(torch.uint8)
        copy = empty_table(*flat.shape)
        copy.copy_(flat)
        return copy.view(table.dtype)
    if pages == "prefault":
        _read_ahead(table)
    elif table.numel() * table.element_size() >= _LARGE:
        madvise(table, mmap.MADV_RANDOM)  # Otherwise Linux reads 128 KiB of the file for a row of 132 bytes.
    return table


def _read_ahead(table: Tensor) -> None:
    """Read a byte of every page."""
    flat = table.view(torch.uint8).view(-1)
    flat[:: mmap.PAGESIZE].sum()
