"""Hosts of a training run: their number, and the processes and memory of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.sizes import format_bytes

_UNITS = {
    "": 1,
    "b": 1,
    **{f"{letter}ib": 1 << (10 * power) for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
}


@dataclass(frozen=True)
class Hosts:
    """Equal hosts, each of which runs the same number of processes.

    Attributes:
        count: number of hosts.
        processes: number of processes on each host.
        memory_bytes: memory of each host that its processes may use.

    Raises:
        ConfigurationError: there is no host, no process or no memory.

    Example:
        >>> hosts = Hosts(count=8, processes=4, memory_bytes=64 << 30)
        >>> hosts.ranks, str(hosts)
        (32, '8 hosts with 4 processes and 64 GiB each')
    """

    count: int
    processes: int
    memory_bytes: int

    def __post_init__(self) -> None:
        for name, value in (("hosts", self.count), ("processes on each host", self.processes)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"The number of {name} is {value!r}, but a plan needs at least 1.")
        if self.memory_bytes < 1:
            raise ConfigurationError(f"The memory of a host is {self.memory_bytes} bytes, but must be above 0.")

    @property
    def ranks(self) -> int:
        """Number of processes on all hosts."""
        return self.count * self.processes

    @property
    def memory_of_process(self) -> int:
        """Memory that each process may use, in bytes."""
        return self.memory_bytes // self.processes

    def host_of(self, rank: int) -> int:
        """Return the host of a process."""
        return rank // self.processes

    def __str__(self) -> str:
        hosts = "1 host" if self.count == 1 else f"{self.count} hosts"
        processes = "1 process" if self.processes == 1 else f"{self.processes} processes"
        each = "" if self.count == 1 else " each"
        return f"{hosts} with {processes} and {format_bytes(self.memory_bytes)}{each}"


def bytes_of(text: Any, name: str) -> int:
    """Parse an amount of memory, such as ``64GiB``, ``1.5 TB`` or a number of bytes.

    Args:
        text: the amount.
        name: name of the amount in error messages.

    Raises:
        ConfigurationError: the text is not an amount of memory.

    Example:
        >>> bytes_of("64GiB", "memory"), bytes_of("1.5 kb", "memory"), bytes_of(4096, "memory")
        (68719476736, 1500, 4096)
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b?)\s*", str(text).lower())
    if found is None or found[2] not in _UNITS:
        raise ConfigurationError(f"{name}={text!r} is not an amount of memory. Give one such as 64GiB or 256GB.")
    return int(float(found[1]) * _UNITS[found[2]])
