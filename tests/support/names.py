"""Names of tests that are equal in every process: xdist refuses a run in which two processes name one differently."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

_ADDRESS = re.compile(r"0x[0-9a-f]{8,}")


def refuse_addresses(names: Iterable[str]) -> None:
    """Refuse names that show where an object lies in memory.

    Raises:
        pytest.UsageError: lists them.
    """
    if found := [name for name in names if _ADDRESS.search(name)]:
        raise pytest.UsageError(
            f"the names of {len(found)} tests show an address, which each process has another of; give `ids` to "
            "`parametrize`: " + ", ".join(found)
        )
