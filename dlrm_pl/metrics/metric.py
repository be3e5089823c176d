"""The torchmetrics Metric class without its import, which takes a second: metrics only exist after that import."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchmetrics import Metric as Metric
else:

    class _OfTorchmetrics(type):
        def __instancecheck__(cls, value: object) -> bool:
            torchmetrics = sys.modules.get("torchmetrics")
            return torchmetrics is not None and isinstance(value, torchmetrics.Metric)

    class Metric(metaclass=_OfTorchmetrics):
        """What is an instance of ``torchmetrics.Metric``."""
