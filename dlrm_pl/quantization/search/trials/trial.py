"""Result of trying a recipe."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.quantization.judging.criterion import Verdict
from dlrm_pl.quantization.judging.guards import GuardReading
from dlrm_pl.quantization.judging.slices.worst_slice import SliceReading
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.objective import Latency


@dataclass(frozen=True, repr=False)
class Trial:
    """Result of trying a recipe.

    Attributes:
        number: number of the trial, from 1.
        recipe: recipe that was tried.
        score: score of the model on the rows that the trial read; None if the trial failed or was not scored.
        verdict: verdict of the criterion; None likewise.
        model_bytes: bytes of weights and tables of the served model; 0 if the trial failed.
        seconds: time for quantizing and scoring.
        samples_per_s: speed, measured in turn with fp32 if the objective counts latency, otherwise a rough figure from
            the forward passes of scoring; 0 if unknown.
        rows: number of rows that were scored; 0 if unknown.
        error: why the trial failed; empty if it did not.
        cost: cost by the objective, lower is better; None if the trial failed, or if latency counts and the model was
            not timed, since only accepted models are.
        latency: measured speeds; None if the model was not timed.
        elapsed_s: time from the start of the search to the end of the trial, earlier runs of a resumed search included.
        unscored: why the model was made without being scored on the tuning rows; empty if it was, or if it failed.

    Example:
        >>> from dlrm_pl import TuningListener
        >>> from dlrm_pl.quantization import Trial
        >>> class PrintTrials(TuningListener):
        ...     def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        ...         print(trial.describe())
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
    unscored: str = ""

    def __repr__(self) -> str:
        """The trial's number, drop, size and outcome, in one line."""
        if self.verdict is None:
            return f"Trial({self.number}, {'not scored' if self.unscored else 'failed'})"
        outcome = "accepted" if self.accepted else "rejected"
        return f"Trial({self.number}, drop={self.drop:+.6f}, {format_bytes(self.model_bytes)}, {outcome})"

    @property
    def failed(self) -> bool:
        """Whether the model could not be made or scored."""
        return self.verdict is None and not self.unscored

    @property
    def accepted(self) -> bool:
        """Whether the model is within tolerance and passed all guards, on the tuning rows."""
        return self.verdict is not None and self.verdict.accepted

    @property
    def drop(self) -> float:
        """Drop of the score; inf if there is none. Unlike scores, drops on different rows can be compared."""
        return math.inf if self.verdict is None else self.verdict.drop

    @property
    def bound(self) -> float:
        """Upper bound of the drop, which the criterion compares with the tolerance; inf if there is none."""
        return math.inf if self.verdict is None else self.verdict.bound

    @property
    def reason(self) -> str:
        """Why the trial was accepted, was rejected, was not scored, or failed."""
        return self.error or self.unscored if self.verdict is None else self.verdict.reason

    def describe(self) -> str:
        """Describe the trial in one line, for the log."""
        if self.verdict is None or self.score is None:
            outcome = "not scored" if self.unscored else "failed"
            return f"trial {self.number}: {self.recipe.describe()}: {outcome}, {self.reason}"
        outcome = "accepted" if self.accepted else "rejected"
        speed = f", {self.samples_per_s:,.0f} samples/s" if self.samples_per_s else ""
        return (
            f"trial {self.number}: {self.recipe.describe()}: score {self.score:.6f}, drop {self.verdict.drop:+.6f}, "
            f"{format_bytes(self.model_bytes)}{speed}: {outcome}, {self.verdict.reason}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types, a line of ``trials.jsonl``; the inverse of ``from_dict``."""
        verdict = self.verdict
        return {
            "number": self.number,
            "recipe": self.recipe.to_dict(),
            "score": self.score,
            "baseline": verdict.baseline if verdict else None,
            "drop": verdict.drop if verdict else None,
            # JSON has no infinity: null if there are too few clicks for a bound.
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
            "failed": self.failed,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        """Read the values of ``to_dict``, also after a round trip through JSON.

        Raises:
            KeyError: a value is missing.
            TypeError, ValueError: a value has the wrong type.
        """
        verdict, is_scored = None, not values["failed"] and values["drop"] is not None
        if is_scored:
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
            error=values["reason"] if values["failed"] else "",
            cost=values["cost"],
            latency=Latency(**values["latency"]) if values["latency"] else None,
            elapsed_s=values["elapsed_s"],
            unscored="" if values["failed"] or is_scored else values["reason"],
        )


def _guard(values: dict[str, Any]) -> GuardReading:
    kind = SliceReading if "slice" in values else GuardReading
    return kind(**values | {"change": math.inf if values["change"] is None else values["change"]})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
