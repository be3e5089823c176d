"""Result of a search: the best model, why it is accepted or not, all trials, and their trade-offs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlrm_pl.quantization.judging.evaluation import Scores
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.runtime.int8_dlrm import Int8DLRM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class TuningResult:
    """Result of a search; there is always a best model, accepted or not.

    Attributes:
        baseline: scores of the fp32 model on the rows that the trials read; None where no trial was scored.
        trials: all trials in order.
        best: trial that ``model`` comes from.
        model: quantized model of the best trial.
        stopped_because: why the search stopped, in words.
        interrupted: whether ctrl-C stopped the search, which can then be resumed.

    Example:
        >>> import dlrm_pl
        >>> def summary(result: dlrm_pl.TuningResult) -> str:
        ...     return f"{result.accepted} after {len(result.trials)} trials: {result.reason}"
    """

    baseline: Scores | None
    trials: tuple[Trial, ...]
    best: Trial
    model: Int8DLRM
    stopped_because: str
    interrupted: bool = False

    def __repr__(self) -> str:
        """The best trial and the number of trials, in one line."""
        return f"TuningResult(best={self.best!r}, trials={len(self.trials)})"

    @property
    def accepted(self) -> bool:
        """Whether the best trial met the criterion on the tuning rows; false if it was not scored on them."""
        return self.best.accepted

    @property
    def reason(self) -> str:
        """Why the best trial is accepted or not, or was not scored, in words."""
        return self.best.reason

    @property
    def pareto(self) -> tuple[Trial, ...]:
        """Trials that no other trial beats in drop, bytes and speed at the same time."""
        return pareto_front(self.trials)

    def plot(self) -> tuple[Figure, list[Axes]]:
        """Draw the trials that have a verdict by drop, size and, if known, speed.

        Returns:
            The figure and its panels; dominated trials are hollow, and the chosen one is circled.
        """
        from matplotlib.figure import Figure

        from dlrm_pl.quantization.search.plot import plot_trade_offs

        scored = [trial for trial in self.trials if trial.verdict is not None]
        figure = Figure(layout="constrained")
        numbers = [trial.number for trial in self.pareto]
        return figure, plot_trade_offs(figure, scored, numbers, self.best.number) if scored else []

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types, without the trials, which are in ``trials.jsonl``."""
        return {
            "accepted": None if self.best.unscored else self.accepted,
            "reason": self.reason,
            "best": self.best.number,
            "trials": len(self.trials),
            "pareto": [trial.number for trial in self.pareto],
            "stopped_because": self.stopped_because,
        }


def pareto_front(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the trials that are not dominated, smallest model first.

    A trial is dominated if another is at least as good in drop, bytes and samples/s, and better in one of them. Failed
    trials are left out. Drops of trials that read different rows are comparable only within their intervals.
    """
    scored = [trial for trial in trials if trial.verdict is not None]
    marks = {trial.number: (trial.drop, trial.model_bytes, -trial.samples_per_s) for trial in scored}

    def dominated(trial: Trial) -> bool:
        own = marks[trial.number]
        return any(
            mark != own and all(theirs <= ours for theirs, ours in zip(mark, own, strict=True))
            for mark in marks.values()
        )

    return tuple(sorted((t for t in scored if not dominated(t)), key=lambda t: (t.model_bytes, t.number)))
