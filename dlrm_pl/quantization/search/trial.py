"""What the search knows of one recipe that it tried."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.quantization.judging.criterion import Verdict
from dlrm_pl.quantization.judging.guards import GuardReading
from dlrm_pl.quantization.judging.worst_slice import SliceReading
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.objective import Latency


@dataclass(frozen=True)
class Trial:
    """One recipe, tried.

    Attributes:
        number: from 1 on.
        recipe: what was tried.
        score: of the trial on the rows it read; None when the trial failed.
        verdict: of the criterion; None when the trial failed.
        model_bytes: weights and tables of the served model; 0 when the trial failed.
        seconds: calibration, conversion and scoring.
        samples_per_s: measured in turn with fp32 when the objective asks for latency, else of the forward passes of
            scoring, which is rough; 0 when unknown.
        rows: scored; 0 when unknown.
        error: why it failed, else empty.
        cost: of the objective, lower is better; None when the trial failed, or its latency counts and was not
            measured, since only accepted models are timed.
        latency: as measured; None when it was not.
        elapsed_s: of the search, runs that were killed included, when the trial ended.
    """

    number: int
    recipe: Recipe
    score: float | None
    verdict: Verdict | None
    model_bytes: int
    seconds: float
    samples_per_s: float
    rows: int
    error: str = ""
    cost: float | None = None
    latency: Latency | None = None
    elapsed_s: float = 0.0

    @property
    def accepted(self) -> bool:
        """Within tolerance and guards."""
        return self.verdict is not None and self.verdict.accepted

    @property
    def drop(self) -> float:
        """Of the score; inf for a failed trial. Scores of other rows do not compare, drops do."""
        return math.inf if self.verdict is None else self.verdict.drop

    @property
    def bound(self) -> float:
        """Upper bound of the drop, what the criterion holds against the tolerance; inf for a failed trial."""
        return math.inf if self.verdict is None else self.verdict.bound

    @property
    def reason(self) -> str:
        """Why it was accepted, rejected, or failed."""
        return self.error if self.verdict is None else self.verdict.reason

    def describe(self) -> str:
        """One line for the log."""
        if self.verdict is None or self.score is None:
            return f"trial {self.number}: {self.recipe.describe()}: failed, {self.error}"
        word = "accepted" if self.accepted else "rejected"
        speed = f", {self.samples_per_s:,.0f} samples/s" if self.samples_per_s else ""
        return (
            f"trial {self.number}: {self.recipe.describe()}: score {self.score:.6f}, drop {self.verdict.drop:+.6f}, "
            f"{format_bytes(self.model_bytes)}{speed}: {word}, {self.verdict.reason}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: a line of ``trials.jsonl``. ``from_dict`` gives the same trial back."""
        verdict = self.verdict
        return {
            "number": self.number,
            "recipe": self.recipe.to_dict(),
            "score": self.score,
            "baseline": verdict.baseline if verdict else None,
            "drop": verdict.drop if verdict else None,
            # JSON has no infinity: unknown where too few clicks give no bound.
            "bound": _finite(verdict.bound) if verdict else None,
            "low": _finite(verdict.low) if verdict else None,
            "tolerance": verdict.tolerance if verdict else None,
            "accepted": self.accepted,
            "reason": self.reason,
            "guards": [asdict(guard) | {"change": _finite(guard.change)} for guard in verdict.guards]
            if verdict
            else [],
            "rows": self.rows,
            "looks": verdict.looks if verdict else 0,
            "model_bytes": self.model_bytes,
            "samples_per_s": round(self.samples_per_s, 1),
            "latency": self.latency.to_dict() if self.latency else None,
            "cost": self.cost,
            "seconds": round(self.seconds, 3),
            "elapsed_s": self.elapsed_s,
            "failed": verdict is None,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        """The inverse of ``to_dict``, also after a round trip through JSON.

        Raises:
            KeyError: a value is missing; and TypeError, ValueError for values of another kind.
        """
        verdict = None
        if not values["failed"]:
            verdict = Verdict(
                accepted=values["accepted"],
                drop=values["drop"],
                bound=math.inf if values["bound"] is None else values["bound"],
                tolerance=values["tolerance"],
                reason=values["reason"],
                baseline=values["baseline"],
                score=values["score"],
                low=-math.inf if values["low"] is None else values["low"],
                decided=True,
                looks=values["looks"],
                rows=values["rows"],
                guards=tuple(_guard(guard) for guard in values["guards"]),
            )
        return cls(
            number=values["number"],
            recipe=Recipe.from_dict(values["recipe"]),
            score=values["score"],
            verdict=verdict,
            model_bytes=values["model_bytes"],
            seconds=values["seconds"],
            samples_per_s=values["samples_per_s"],
            rows=values["rows"],
            error=values["reason"] if verdict is None else "",
            cost=values["cost"],
            latency=Latency(**values["latency"]) if values["latency"] else None,
            elapsed_s=values["elapsed_s"],
        )


def _guard(values: dict[str, Any]) -> GuardReading:
    kind = SliceReading if "slice" in values else GuardReading
    return kind(**values | {"change": math.inf if values["change"] is None else values["change"]})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
