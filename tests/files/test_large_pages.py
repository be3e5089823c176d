"""Large tensors get pages of 2 MiB if the system has any."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable
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


def memory_of(tensor: Tensor) -> dict[str, str]:
    """Return what Linux states about the memory of a tensor, by name."""
    middle = tensor.data_ptr() + tensor.numel() * tensor.element_size() // 2
    stated: dict[str, str] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= middle < int(bounds[2], 16)
        elif inside:
            name, _, value = line.partition(":")
            stated[name] = value.strip()
    assert stated, "the memory of the tensor is not among those of the process"
    return stated


def large_page_bytes(tensor: Tensor) -> int:
    """Return the number of bytes on large pages in a tensor's memory."""
    return int(memory_of(tensor)["AnonHugePages"].split()[0]) * 1024


def asks_for_large_pages(tensor: Tensor) -> bool:
    """Tell whether Linux was asked for large pages for this memory, even if none are available."""
    return "hg" in memory_of(tensor)["VmFlags"].split()


def fresh(values: int) -> Tensor:
    """Make a tensor in memory never used before: torch's may already be on large pages from an earlier use."""
    return torch.frombuffer(mmap.mmap(-1, 4 * values, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=torch.float32)


def gets_large_pages(make: Callable[[], Tensor], needed: int) -> bool:
    """Tell whether one of three tensors has that many bytes on large pages, which other programs may use up anytime."""
    return any(large_page_bytes(make()) >= needed for _ in range(3))


def skip_without_free_pages() -> None:
    """Skip the test if memory is so fragmented that the system has no large page left."""

    def probe() -> Tensor:
        tensor = fresh(20_000_000)
        madvise(tensor, mmap.MADV_HUGEPAGE)
        return tensor.fill_(1)

    if not gets_large_pages(probe, 70 << 20):
        pytest.skip("the system has too few free large pages at the moment")


@needs_large_pages
def test_tables_and_their_states_lie_on_large_pages() -> None:
    def table() -> Tensor:
        weight = list(EmbeddingBags([3, 600_000], 16).parameters())[1]
        assert asks_for_large_pages(weight)
        return weight

    def state() -> Tensor:
        found = new_state("adagrad", torch.zeros(600_000, 16))["sum"]
        assert asks_for_large_pages(found)
        assert not found.any()
        return found.add_(1)

    for make in (table, state):
        if not gets_large_pages(make, 30 << 20):
            skip_without_free_pages()
            pytest.fail(f"Linux has large pages, and gave none to the {make.__name__}")


@needs_large_pages
def test_memory_in_use_is_put_on_large_pages_with_its_contents() -> None:
    def collapsed() -> Tensor:
        tensor = fresh(4_000_000)
        madvise(tensor, mmap.MADV_NOHUGEPAGE)
        torch.arange(4_000_000, out=tensor)
        assert large_page_bytes(tensor) == 0
        madvise(tensor, mmap.MADV_HUGEPAGE)
        collapse(tensor)
        assert torch.equal(tensor, torch.arange(4_000_000, dtype=torch.float32))
        return tensor

    if gets_large_pages(collapsed, 12 << 20):
        return
    skip_without_free_pages()
    if large_page_bytes(collapsed()) == 0:
        pytest.skip("before Linux 6.1 memory in use cannot be put on large pages")
    pytest.fail("Linux has large pages, and put less than 12 of 16 MB on them")


def test_a_tensor_stays_what_it_is() -> None:
    for tensor in (torch.zeros(2_000_000), torch.zeros(3), torch.empty(0), torch.empty(1 << 22, device="meta")):
        assert on_large_pages(tensor) is tensor
        collapse(tensor)
