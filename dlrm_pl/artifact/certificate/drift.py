"""What moved between a certification and its repetition: the machine, and each metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

METRICS = ("auroc", "log_loss", "normalized_entropy", "calibration_ratio")
"""Of a model; its speed is no property of the model."""


@dataclass(frozen=True)
class Movement:
    """Certified beside recomputed.

    Attributes:
        machine: what differs of the machine: name -> (certified, here). Another number of threads is named as well,
            since sums are then split otherwise.
        metrics: every metric that was recomputed: name -> (certified, recomputed), as in ``int8 auroc``.
    """

    machine: dict[str, tuple[Any, Any]]
    metrics: dict[str, tuple[float, float]]

    @classmethod
    def between(
        cls,
        certified_machine: Mapping[str, Any],
        machine: Mapping[str, Any],
        metrics: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]],
        others: Mapping[str, tuple[float, float]] | None = None,
    ) -> Movement:
        """Compare.

        Args:
            certified_machine: as ``describe_machine`` said then.
            machine: as it says now.
            metrics: of each model: certified and recomputed.
            others: of a part of the rows, by model and name, as in ``int8 auroc of C14=7``.
        """
        names = [*certified_machine, *(name for name in machine if name not in certified_machine)]
        return cls(
            machine={
                name: (certified_machine.get(name), machine.get(name))
                for name in names
                if certified_machine.get(name) != machine.get(name)
            },
            metrics={
                f"{model} {name}": (before[name], after[name])
                for model, (before, after) in metrics.items()
                for name in METRICS
            }
            | dict(others or {}),
        )

    @property
    def largest(self) -> float:
        """The largest change of a metric, without its sign."""
        return max((abs(after - before) for before, after in self.metrics.values()), default=0.0)

    def beyond(self, tolerance: float) -> list[str]:
        """Names of the metrics that changed by more, or to or from NaN."""
        return [name for name, (one, other) in self.metrics.items() if not abs(one - other) <= tolerance]

    def describe_machine(self) -> str:
        """What differs of the machine, in one line; empty where nothing does."""
        return "; ".join(f"{name}: {_words(one)} -> {_words(other)}" for name, (one, other) in self.machine.items())

    def describe_metrics(self) -> str:
        """The metrics that changed, in one line; empty where none did."""
        return "; ".join(
            f"{name.replace('_', ' ')} {one:.8f} -> {other:.8f} ({other - one:+.1e})"
            for name, (one, other) in self.metrics.items()
            if one != other
        )

    def describe(self) -> str:
        """Both, in words."""
        machine = f"the machine differs: {self.describe_machine()}" if self.machine else "the machine is the same"
        metrics = self.describe_metrics()
        return f"{machine}. " + (f"Moved: {metrics}" if metrics else "No metric moved by a bit")


def _words(value: Any) -> str:
    if value is None:
        return "unknown"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
