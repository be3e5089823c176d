"""What a plan knows about the host that it runs on: available memory, within the limits of a process."""

from __future__ import annotations

import resource

import pytest
import torch

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.distributed import measured_hosts
from dlrm_pl.distributed.measured_hosts import host_memory, lookups_and_names, memory_of_fullest_host

CPU = torch.device("cpu")


def test_processes_count_their_own_memory_as_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_hosts, "available_bytes", lambda: 8 << 30)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert (8 << 30) + 2 * taken <= host_memory(2, CPU) < (8 << 30) + 3 * taken
    assert memory_of_fullest_host(2, CPU) >= (8 << 30) + 2 * taken


def test_the_limit_of_a_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_hosts, "available_bytes", lambda: 64 << 30)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (3 << 30, resource.RLIM_INFINITY))
    assert host_memory(2, CPU) == 6 << 30


def test_lists_count_with_their_greatest_length() -> None:
    assert lookups_and_names(None) == ((), ())
    criteo = Columns.criteo()
    columns = Columns(
        label=criteo.label,
        dense=criteo.dense,
        sparse=(SparseColumn(name="shop"), SparseColumn(name="tags", at_most=5), SparseColumn(name="pages", bag=3)),
    )
    assert lookups_and_names(columns) == ((1.0, 5.0, 3.0), ("shop", "tags", "pages"))
