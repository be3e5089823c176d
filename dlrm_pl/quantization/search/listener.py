"""What a search tells while it runs, for whoever draws it: a table, a log of scalars, a progress bar."""

from __future__ import annotations

from dlrm_pl.quantization.judging.criterion import Verdict
from dlrm_pl.quantization.judging.evaluation import Scores
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.trial import Trial


class TuningListener:
    """Does nothing; override what is of interest. Called in the thread of the search, which waits meanwhile."""

    def on_baseline(self, baseline: Scores, tolerance: float) -> None:
        """The fp32 model was scored, on the first block or on all rows; the tolerance in units of the score."""

    def on_trial_start(self, number: int, recipe: Recipe) -> None:
        """A recipe is about to be tried."""

    def on_look(self, number: int, verdict: Verdict) -> None:
        """A trial has read more rows; ``verdict.decided`` tells whether this is its end."""

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        """A trial ended, or was found in the log of an earlier run (without a start, then, and without looks)."""

    def on_stop(self, best: Trial | None, reason: str) -> None:
        """The search is over."""
