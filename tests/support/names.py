"""Names of tests must be equal in every process: xdist refuses a run in which two processes name a test differently."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

_ADDRESS = re.compile(r"0x[0-9a-f]{8,}")


def refuse_addresses(names: Iterable[str]) -> None:
    """Refuse names that contain the memory address of an object.

    Raises:
        pytest.UsageError: there are such names; lists them.
    """
    if found := [name for name in names if _ADDRESS.search(name)]:
        raise pytest.UsageError(
            f"the names of {len(found)} tests show an address, which each process has another of; give `ids` to "
            "`parametrize`: " + ", ".join(found)
        )
