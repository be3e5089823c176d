"""Memory of tables: 2 MiB pages, and files read ahead.

Rows are read at random. With pages of 4 KiB the processor looks up where each page lies, which takes longer than to
read the row: measured, 26 instead of 45 million rows a second. Linux gives larger pages on request to memory of the
process (``transparent_hugepage`` set to ``madvise``, as usual, or ``always``), but not to mapped files.
"""

from __future__ import annotations

import mmap
from typing import Literal

import torch
from torch import Tensor

from dlrm_pl.files.mapped import madvise

Pages = Literal["mapped", "prefault", "huge"]
"""How tables of a file lie in memory: read from the mapped file when touched, read ahead, or copied to 2 MiB pages."""

_HUGE = 2 << 20
_LARGE = 1 << 30  # Smaller tables are soon in memory as a whole, and reading ahead is how.


def empty_table(rows: int, row_size: int) -> Tensor:
    """Zeroed uint8 ``[rows, row_size]`` on 2 MiB pages where the system gives them; small ones as usual."""
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
    """A table of a mapped file, as ``pages`` says; its contents do not change."""
    if pages == "huge":
        flat = table.view(torch.uint8)
        copy = empty_table(*flat.shape)
        copy.copy_(flat)
        return copy.view(table.dtype)
    if pages == "prefault":
        _read_ahead(table)
    elif table.numel() * table.element_size() >= _LARGE:
        madvise(table, mmap.MADV_RANDOM)  # Not to read 128 KiB of a file for each row of 132 bytes.
    return table


def _read_ahead(table: Tensor) -> None:
    """Read a byte of every page."""
    flat = table.view(torch.uint8).view(-1)
    flat[:: mmap.PAGESIZE].sum()
