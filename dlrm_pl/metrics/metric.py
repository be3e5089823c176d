"""The class of torchmetrics' metrics, without an import that takes a second: a metric exists where that was done."""

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
