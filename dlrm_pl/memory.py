"""Memory that this process may still use."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.sizes import format_bytes

_GROUPS = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Return how many bytes this process can take before the system ends it, given the machine and each control group.

    In a container, the limit is that of a control group (cgroup v2, or the memory controller of v1). File contents that
    the system caches in memory count as available, and so does free swap.
    """
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        found[name] = 1024 * int(value.split()[0])
    return min([found["MemAvailable"] + found["SwapFree"], *_left_of_groups()])


def require_memory(needed_bytes: int, needed: str, advice: str) -> None:
    """Check that memory is available before it is taken; otherwise the system would end the process.

    Args:
        needed_bytes: memory that will be taken.
        needed: subject of the error message, such as "The tables".
        advice: sentence that says how to use less memory.

    Raises:
        ConfigurationError: less memory is available, on the machine or within the limits of a container.
    """
    available = available_bytes()
    if needed_bytes > available:
        raise ConfigurationError(
            f"{needed} will need {format_bytes(needed_bytes)} of memory, but only {format_bytes(available)} are "
            f"available. {advice}"
        )


def _left_of_groups() -> list[int]:
    """Return the memory left in each control group of this process that has a limit."""
    left = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                names = ("memory.max", "memory.current", "inactive_file")
                folder = _GROUPS / path.lstrip("/")
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                folder = _GROUPS / "memory" / path.lstrip("/")
            else:
                continue
            # In a container, the path may be the host's, which does not exist here; the group is then the root.
            for place in (folder, *folder.parents):
                if (bytes_left := _left(place, *names)) is not None:
                    left.append(bytes_left)
                if place == _GROUPS:
                    break
    return left


def _left(folder: Path, limit: str, current: str, reclaimable: str) -> int | None:
    """Return the memory left in a control group; None if it has no limit."""
    with suppress(OSError, ValueError):
        allowed = int((folder / limit).read_text())  # "max" if there is no limit.
        used = int((folder / current).read_text())
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == reclaimable:
                used -= int(value)
        return max(0, allowed - used)
    return None
