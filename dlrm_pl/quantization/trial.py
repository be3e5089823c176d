"""What the search knows of one recipe that it tried, and of all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dlrm_pl.quantization.criterion import Verdict
from dlrm_pl.quantization.evaluation import Scores
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.runtime.int8_dlrm import Int8DLRM


@dataclass(frozen=True)
class Trial:
    """One recipe, tried.

    Attributes:
        number: from 1 on.
        recipe: what was tried.
        score: higher is better; None when the trial failed.
        verdict: of the criterion; None when the trial failed.
        model_bytes: weights and tables of the served model; 0 when the trial failed.
        seconds: calibration, conversion and scoring.
        samples_per_s: of the forward passes; 0 when unknown.
        rows: scored; 0 when unknown.
        error: why it failed, else empty.
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

    @property
    def accepted(self) -> bool:
        """Within tolerance and guards."""
        return self.verdict is not None and self.verdict.accepted

    def describe(self) -> str:
        """One line for the log."""
        if self.verdict is None or self.score is None:
            return f"trial {self.number}: {self.recipe.describe()}: failed, {self.error}"
        word = "accepted" if self.accepted else "rejected"
        speed = f", {self.samples_per_s:,.0f} samples/s" if self.samples_per_s else ""
        return (
            f"trial {self.number}: {self.recipe.describe()}: score {self.score:.6f}, loss {self.verdict.loss:+.6f}, "
            f"{self.model_bytes / 2**20:.2f} MiB{speed}: {word}, {self.verdict.reason}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: a line of ``trials.jsonl``."""
        verdict = self.verdict
        return {
            "number": self.number,
            "recipe": self.recipe.to_dict(),
            "score": self.score,
            "loss": verdict.loss if verdict else None,
            # JSON has no infinity: unknown where too few clicks give no bound.
            "bound": verdict.bound if verdict and math.isfinite(verdict.bound) else None,
            "tolerance": verdict.tolerance if verdict else None,
            "accepted": self.accepted,
            "reason": verdict.reason if verdict else self.error,
            "model_bytes": self.model_bytes,
            "seconds": round(self.seconds, 3),
            "samples_per_s": round(self.samples_per_s, 1),
            "rows": self.rows,
        }


@dataclass(frozen=True)
class TuningResult:
    """The end of a search; there is always a best model, accepted or not.

    Attributes:
        baseline: scores of the fp32 model.
        trials: all, in order.
        best: the trial that ``model`` comes from.
        model: int8, of the best trial.
        stopped_because: in words.
    """

    baseline: Scores
    trials: tuple[Trial, ...]
    best: Trial
    model: Int8DLRM
    stopped_because: str

    @property
    def accepted(self) -> bool:
        """The best trial met the criterion."""
        return self.best.accepted
