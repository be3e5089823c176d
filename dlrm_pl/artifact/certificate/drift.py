"""Differences between a certification and its repetition: in the environment, and in each metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

METRICS = ("auroc", "log_loss", "normalized_entropy", "calibration_ratio")
"""Metrics of a model that can be recomputed; its speed depends on the machine."""


class MetricDrift(NamedTuple):
    """One metric, certified and recomputed."""

    certified: float
    recomputed: float

    @property
    def change(self) -> float:
        """Recomputed minus certified."""
        return self.recomputed - self.certified

    def describe(self, name: str) -> str:
        """Describe both values and the change."""
        return f"{name.replace('_', ' ')} {self.certified:.8f} -> {self.recomputed:.8f} ({self.change:+.1e})"


@dataclass(frozen=True)
class Drift:
    """Differences between the certified environment and metrics and the current ones.

    Attributes:
        environment: facts of the machine that differ, by name, as (certified, current). The number of threads is one of
            them, since it changes how sums are split.
        metrics: every metric that was recomputed, by model and name, such as ``int8 auroc``.

    Example:
        >>> from dlrm_pl import verify_artifact
        >>> drift = verify_artifact("artifacts/quickstart", "datasets/quickstart").drift
        >>> drift.environment, drift.beyond(tolerance=1e-4)
        ({}, [])
    """

    environment: dict[str, tuple[Any, Any]]
    metrics: dict[str, MetricDrift]

    @classmethod
    def between(
        cls,
        certified_environment: Mapping[str, Any],
        environment: Mapping[str, Any],
        metrics: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]],
        others: Mapping[str, tuple[float, float]] | None = None,
    ) -> Drift:
        """Compare environments and metrics.

        Args:
            certified_environment: the result of ``describe_machine`` when the artifact was certified.
            environment: its current result.
            metrics: metrics by model, certified and recomputed.
            others: metrics on a part of the rows, by model and name, such as ``int8 auroc of C14=7``.
        """
        names = [*certified_environment, *(name for name in environment if name not in certified_environment)]
        pairs = {
            f"{model} {name}": (certified[name], recomputed[name])
            for model, (certified, recomputed) in metrics.items()
            for name in METRICS
        }
        return cls(
            environment={
                name: (certified_environment.get(name), environment.get(name))
                for name in names
                if certified_environment.get(name) != environment.get(name)
            },
            metrics={name: MetricDrift(*pair) for name, pair in {**pairs, **(others or {})}.items()},
        )

    @property
    def largest(self) -> float:
        """Largest absolute change of a metric."""
        return max((abs(metric.change) for metric in self.metrics.values()), default=0.0)

    def beyond(self, tolerance: float) -> list[str]:
        """Return the names of the metrics that changed by more than the tolerance, or to or from NaN."""
        return [name for name, metric in self.metrics.items() if not abs(metric.change) <= tolerance]

    def describe_environment(self) -> str:
        """Describe the differences of the environment in one line; empty if there are none."""
        return "; ".join(
            f"{name}: {_fact_text(certified)} -> {_fact_text(here)}"
            for name, (certified, here) in self.environment.items()
        )

    def describe_metrics(self) -> str:
        """Describe the metrics that changed in one line; empty if none did."""
        return "; ".join(
            metric.describe(name) for name, metric in self.metrics.items() if metric.certified != metric.recomputed
        )

    def describe(self) -> str:
        """Describe the differences of the environment and of the metrics."""
        environment, metrics = self.describe_environment(), self.describe_metrics()
        return (f"The environment differs: {environment}. " if environment else "Same environment. ") + (
            f"Metrics changed: {metrics}" if metrics else "All metrics are bit-identical"
        )


def _fact_text(value: Any) -> str:
    if value is None:
        return "unknown"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
