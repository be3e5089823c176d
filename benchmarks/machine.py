"""Where and with what a benchmark ran; every benchmark adds it to its JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from dlrm_pl.runtime.cpu import describe_machine


def machine() -> dict[str, Any]:
    """Date, processor, features, versions."""
    packages = {name: version(name) for name in ("pytorch-lightning", "torchmetrics", "dlrm-pl")}
    return {"date": datetime.now(UTC).date().isoformat()} | describe_machine() | packages
