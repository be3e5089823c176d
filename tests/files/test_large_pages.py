"""Large tensors get pages of 2 MiB where the system has them."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dlrm_pl.files.large_pages import collapse, on_large_pages
from dlrm_pl.files.mapped import madvise
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.training.optimizers.rules import new_state

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")

needs_large_pages = pytest.mark.skipif(
    not SETTING.exists() or "[never]" in SETTING.read_text(), reason="the system gives no large pages"
)


def large_page_bytes(tensor: Tensor) -> int:
    """Bytes on large pages in the memory that a tensor lies in, as Linux states them."""
    middle = tensor.data_ptr() + tensor.numel() * tensor.element_size() // 2
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= middle < int(bounds[2], 16)
        elif inside and line.startswith("AnonHugePages:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the memory of the tensor is not among those of the process")


def fresh(values: int) -> Tensor:
    """A tensor in memory that was never used before: what torch gives may lie on large pages from an earlier use."""
    return torch.frombuffer(mmap.mmap(-1, 4 * values, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=torch.float32)


def skip_without_free_pages() -> None:
    """Skip where memory is in such small pieces that the system has no large page left to give."""
    probe = fresh(20_000_000)
    madvise(probe, mmap.MADV_HUGEPAGE)
    probe.fill_(1)
    if large_page_bytes(probe) < 70 << 20:
        pytest.skip("the system has too few free large pages at the moment")


@needs_large_pages
def test_tables_and_their_states_lie_on_large_pages() -> None:
    skip_without_free_pages()
    tables = EmbeddingBags([3, 600_000], 16)
    weight = next(iter(list(tables.parameters())[1:]))
    assert large_page_bytes(weight) >= 30 << 20
    state = new_state("adagrad", weight)["sum"]
    assert not state.any()
    state.add_(1)
    assert large_page_bytes(state) >= 30 << 20


@needs_large_pages
def test_memory_in_use_is_put_on_large_pages_with_its_contents() -> None:
    skip_without_free_pages()
    tensor = fresh(4_000_000)
    madvise(tensor, mmap.MADV_NOHUGEPAGE)
    torch.arange(4_000_000, out=tensor)
    assert large_page_bytes(tensor) == 0
    madvise(tensor, mmap.MADV_HUGEPAGE)
    collapse(tensor)
    if large_page_bytes(tensor) == 0:
        pytest.skip("before Linux 6.1 memory in use cannot be put on large pages")
    assert large_page_bytes(tensor) >= 12 << 20
    assert torch.equal(tensor, torch.arange(4_000_000, dtype=torch.float32))


def test_a_tensor_stays_what_it_is() -> None:
    for tensor in (torch.zeros(2_000_000), torch.zeros(3), torch.empty(0), torch.empty(1 << 22, device="meta")):
        assert on_large_pages(tensor) is tensor
        collapse(tensor)
