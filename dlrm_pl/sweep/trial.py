"""A trial of a sweep, and its result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from dlrm_pl.errors import DataFormatError

State = Literal["complete", "pruned", "failed"]
STATES: tuple[State, ...] = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Trial:
    """One training run of a sweep.

    Attributes:
        number: number of the trial, from 1; Optuna counts from 0.
        values: settings that replace the configuration's in this trial, by their dotted names.
        state: ``complete``: trained on all its rows; ``pruned``: ended early; ``failed``: could not be trained.
        scores: AUROC on val by the number of the validation, from 1; each follows an equal share of the rows.
        rows: number of rows that it was trained on.
        seconds: training time.
        memory_bytes: memory that its training needs, as `fit` reports it before it starts.
        reason: why it failed; otherwise empty.
        seed: seed of its weights and of the order of its rows.
        is_given: whether it has the settings of the configuration.
        noted: what the pruner has recorded about it, for judging later trials.
    """

    number: int
    values: Mapping[str, Any]
    state: State
    scores: Mapping[int, float] = field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0
    memory_bytes: int = 0
    reason: str = ""
    seed: int = 0
    is_given: bool = False
    noted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def auroc(self) -> float | None:
        """AUROC of the last validation; None before the first."""
        return self.scores[max(self.scores)] if self.scores else None

    def to_dict(self) -> dict[str, Any]:
        """Return the trial in plain JSON types."""
        return asdict(self) | {"scores": {str(step): score for step, score in self.scores.items()}}

    @classmethod
    def from_dict(cls, stored: Any, where: str) -> Trial:
        """Read a stored trial.

        Raises:
            DataFormatError: ``stored`` is not a trial.
        """
        try:
            values = {one.name: stored[one.name] for one in fields(cls)}
            scores = {int(step): float(score) for step, score in values["scores"].items()}
            made = cls(**(values | {"scores": scores}))
            plain = all(isinstance(part, dict) for part in (made.values, made.noted)) and made.state in STATES
            plain = plain and isinstance(made.reason, str)
            numbers = [made.number, made.rows, made.seconds, made.memory_bytes, made.seed, *scores.values()]
            if plain and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
                return made
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        raise DataFormatError(
            f"{where}: does not contain the trials of a sweep. Choose another --output, or remove it."
        )


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the highest AUROC, on a tie the first; None if none is complete.

    Pruned trials were trained on fewer rows, so they are not compared.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.auroc is not None]
    return max(complete, key=lambda trial: trial.auroc or 0.0, default=None)
