"""Plans need at least one host and process, and a readable amount of memory."""

from __future__ import annotations

import pytest

from dlrm_pl.distributed.plan.hosts import Hosts, bytes_of
from dlrm_pl.errors import ConfigurationError


def test_memory_and_processes_are_those_of_all_hosts() -> None:
    hosts = Hosts(3, 4, 64 << 30)
    assert (hosts.ranks, hosts.memory_of_process, hosts.host_of(7)) == (12, 16 << 30, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 4, 1), "number of hosts is 0"),
        ((-1, 4, 1), "number of hosts is -1"),
        ((2, 0, 1), "number of processes on each host is 0"),
        ((2, 4, 0), "memory of a host is 0 bytes"),
    ],
)
def test_no_host_no_process_and_no_memory_are_refused(values: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Hosts(*values)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64GiB", 64 << 30), ("64 gib", 64 << 30), ("1.5TB", 1_500_000_000_000), ("512MiB", 512 << 20), (4096, 4096)],
)
def test_amounts_of_memory_are_read(text: object, size: int) -> None:
    assert bytes_of(text, "memory") == size


@pytest.mark.parametrize("text", ["", "much", "64 GiB each", "-1GiB", "1e3", "i", "ib", None])
def test_other_texts_are_no_memory(text: object) -> None:
    with pytest.raises(ConfigurationError, match=r"memory=.* is not an amount of memory"):
        bytes_of(text, "memory")
