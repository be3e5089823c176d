"""Objective that the search minimizes among the models within tolerance: bytes, time, or both."""

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
    """What to minimize: the weights of size and latency.

    The cost of a model is the weighted sum of its bytes and its time, each as a share of the fp32 model's.

    Attributes:
        size: weight of the bytes of weights and tables.
        latency: weight of the time per batch. If it is above 0, each accepted model is timed in turn with the fp32
            model, and a model slower than the faster of fp32 and compiled bf16 is not accepted: a float model would
            serve faster.

    Raises:
        ConfigurationError: a weight is negative or not a number, or no weight is above 0.

    Example:
        >>> from dlrm_pl import Objective
        >>> Objective(size=0.7, latency=0.3)
        Objective(size=0.7, latency=0.3)
        >>> Objective.named("latency")
        Objective(size=0.0, latency=1.0)
    """

    size: float = 1.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(self)
        if not min(self.size, self.latency) >= 0 or not 0 < self.size + self.latency < float("inf"):
            raise ConfigurationError(
                f"The weights size={self.size} and latency={self.latency} must be non-negative numbers, not both 0."
            )

    @classmethod
    def named(cls, objective: Objective | ObjectiveName) -> Objective:
        """Return the objective with this name, which counts only size or latency, or the given ``Objective``."""
        if isinstance(objective, Objective):
            return objective
        return cls(size=float(objective == "size"), latency=float(objective == "latency"))

    def cost(self, bytes_share: float, latency: Latency | None) -> float | None:
        """Compute the cost of a model; None if its latency counts but is unknown.

        Args:
            bytes_share: bytes of the model as a share of the fp32 model's.
            latency: measured speeds, if the model was timed.
        """
        if not self.latency:
            return self.size * bytes_share
        return None if latency is None else self.size * bytes_share + self.latency * latency.share


@dataclass(frozen=True)
class Latency:
    """Speeds of a trial and of float models, measured in turn on the same batches.

    Attributes:
        samples_per_s: speed of the trial's model.
        fp32_samples_per_s: speed of the eager fp32 model.
        bf16_samples_per_s: speed of the compiled bf16 model; None where it cannot be compiled.
        batch_size: samples of the batch that was timed; None in searches of earlier versions.
        threads: number of threads; None likewise.
    """

    samples_per_s: float
    fp32_samples_per_s: float
    bf16_samples_per_s: float | None = None
    batch_size: int | None = None
    threads: int | None = None

    @property
    def share(self) -> float:
        """Time per batch as a share of the fp32 model's time."""
        return self.fp32_samples_per_s / self.samples_per_s

    @property
    def slower_than(self) -> str | None:
        """How much slower the trial is than the faster float model, in words; None if it is not slower."""
        float_speeds = {"fp32": self.fp32_samples_per_s, "compiled bf16": self.bf16_samples_per_s or 0.0}
        name, speed = max(float_speeds.items(), key=lambda item: item[1])
        if self.samples_per_s >= speed:
            return None
        return f"its {self.samples_per_s:,.0f} samples/s are slower than {name} with {speed:,.0f}"

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return asdict(self)


LatencyTimer = Callable[[Int8DLRM], Latency]
"""Times a trial in turn with the float models. The callers pass ``benchmark.latency.InterleavedTimer``, since
``benchmark/`` is above this folder in the order of imports."""
