"""What the search makes small among the models within tolerance: bytes, time, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.runtime.int8_dlrm import Int8DLRM

ObjectiveName = Literal["size", "latency"]


@dataclass(frozen=True)
class Objective:
    """A weighted pair; the cost of a model is the weighted sum of its shares of what fp32 needs, lower is better.

    Attributes:
        size: weight of the bytes of weights and tables.
        latency: weight of the time for a batch. Above 0, the time of each accepted model is measured in turn with the
            fp32 model, and one that is slower than the faster of fp32 and compiled bf16 is not accepted: who wants
            speed would serve that one.
    """

    size: float = 1.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: a weight that is negative or no number, or none.
        """
        check_fields(self)
        if not min(self.size, self.latency) >= 0 or not 0 < self.size + self.latency < float("inf"):
            raise ConfigurationError(
                f"The weights size={self.size} and latency={self.latency} must be numbers from 0 on, not both 0."
            )

    @classmethod
    def named(cls, objective: Objective | ObjectiveName) -> Objective:
        """One of the two alone, by name; an objective as it is."""
        if isinstance(objective, Objective):
            return objective
        return cls(size=float(objective == "size"), latency=float(objective == "latency"))

    def cost(self, bytes_share: float, latency: Latency | None) -> float | None:
        """The cost of a model; None when its latency counts and is not known.

        Args:
            bytes_share: of the fp32 model's bytes.
            latency: as measured.
        """
        if not self.latency:
            return self.size * bytes_share
        return None if latency is None else self.size * bytes_share + self.latency * latency.share


@dataclass(frozen=True)
class Latency:
    """Speeds that were measured in turn, on the same batches.

    Attributes:
        samples_per_s: of the trial.
        fp32_samples_per_s: of the float model, eager.
        bf16_samples_per_s: of the float model in bf16, compiled; None where it cannot be compiled.
    """

    samples_per_s: float
    fp32_samples_per_s: float
    bf16_samples_per_s: float | None = None

    @property
    def share(self) -> float:
        """Time for a batch as a share of the fp32 model's."""
        return self.fp32_samples_per_s / self.samples_per_s

    @property
    def slower_than(self) -> str | None:
        """The faster of the float models, in words, when the trial is slower than it."""
        rivals = {"fp32": self.fp32_samples_per_s, "compiled bf16": self.bf16_samples_per_s or 0.0}
        name, speed = max(rivals.items(), key=lambda item: item[1])
        if self.samples_per_s >= speed:
            return None
        return f"{self.samples_per_s:,.0f} samples/s are slower than {name} with {speed:,.0f}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


LatencyTimer = Callable[[Int8DLRM], Latency]
"""Measures a trial in turn with the float models. ``benchmark/`` has one; it stands above this folder, so the caller
hands it in."""
