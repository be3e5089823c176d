"""Events of a running search, for a table, a log of scalars, or a progress bar."""

from __future__ import annotations

from dlrm_pl.quantization.judging.criterion import Verdict
from dlrm_pl.quantization.judging.evaluation import Scores
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.trials.trial import Trial


class TuningListener:
    """Receives the events of a search; each method does nothing until a subclass overrides it.

    The methods are called in the thread of the search, which waits for them.

    Example:
        >>> from dlrm_pl import TuningListener
        >>> class CountTrials(TuningListener):
        ...     trials = 0
        ...
        ...     def on_trial_end(self, trial, *, resumed):
        ...         self.trials += 1
        >>> listener = CountTrials()  # Pass it as dlrm_pl.quantize(..., listeners=[listener]).
    """

    def __repr__(self) -> str:
        """Name the class."""
        return f"{type(self).__name__}()"

    def on_baseline(self, baseline: Scores, tolerance: float) -> None:
        """Handle the score of the fp32 model, which comes first.

        Args:
            baseline: scores on the first block of rows, or on all rows if rows are not tested in blocks.
            tolerance: tolerated drop in units of the score.
        """

    def on_trial_start(self, number: int, recipe: Recipe) -> None:
        """Handle the start of a trial."""

    def on_look(self, number: int, verdict: Verdict) -> None:
        """Handle the verdict of a trial that has read more rows; ``verdict.decided`` says whether it is final."""

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        """Handle the end of a trial.

        Args:
            trial: finished trial.
            resumed: whether it comes from the log of an earlier run; then it had no start and no interim verdict.
        """

    def on_stop(self, best: Trial | None, reason: str) -> None:
        """Handle the end of the search.

        Args:
            best: best trial; None if all trials failed.
            reason: why the search stopped.
        """
