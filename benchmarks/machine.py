"""Describe the machine and versions of a benchmark; every benchmark adds them to its JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from dlrm_pl.runtime.cpu import describe_machine


def machine() -> dict[str, Any]:
    """Return date, processor, features and versions."""
    packages = {name: version(name) for name in ("pytorch-lightning", "torchmetrics", "dlrm-pl")}
    return {"date": datetime.now(UTC).date().isoformat()} | describe_machine() | packages
