"""Test whether the best settings of a sweep gain more than the noise between seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean, stdev

from dlrm_pl.sweep.search import Repeated

# Two-sided 95 % quantiles of Student's t by degrees of freedom. Beyond the list, the last one is used, which makes the
# interval slightly too wide.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Comparison:
    """The best and the given settings, trained with the same additional seeds.

    Attributes:
        seeds: the seeds.
        best: AUROC of the best settings with each seed.
        given: AUROC of the given settings with each seed.
    """

    seeds: tuple[int, ...]
    best: tuple[float, ...]
    given: tuple[float, ...]

    @classmethod
    def of(cls, repeated: Repeated) -> Comparison | None:
        """Pair the finished training runs; None if there are fewer than two pairs, which do not reveal noise."""
        pairs = [
            (best.seed, best.auroc, given.auroc)
            for best, given in zip(repeated.best, repeated.given, strict=True)
            if best.auroc is not None and given.auroc is not None and "failed" not in (best.state, given.state)
        ]
        if len(pairs) < 2:
            return None
        seeds, best_scores, given_scores = zip(*pairs, strict=True)
        return cls(seeds, best_scores, given_scores)

    @property
    def gain(self) -> float:
        """Mean difference of AUROC."""
        return mean(self._differences)

    @property
    def half_width(self) -> float:
        """Half of the 95 % confidence interval of the gain, by Student's t."""
        count = len(self.seeds)
        return _T[min(count - 1, len(_T)) - 1] * stdev(self._differences) / math.sqrt(count)

    @property
    def noise(self) -> float:
        """Standard deviation of the AUROC of the given settings between seeds."""
        return stdev(self.given)

    @property
    def best_noise(self) -> float:
        """Standard deviation of the AUROC of the best settings between seeds."""
        return stdev(self.best)

    @property
    def exceeds_noise(self) -> bool:
        """Whether the whole interval of the gain is above 0."""
        return self.gain - self.half_width > 0

    @property
    def _differences(self) -> list[float]:
        return [best - given for best, given in zip(self.best, self.given, strict=True)]

    def __str__(self) -> str:
        """Two sentences for the end of a sweep."""
        same = self.best == self.given
        seeds = f"{len(self.seeds)} other seeds"
        if same:
            return (
                f"The given settings are the best. With {seeds} their AUROC is {mean(self.given):.4f}, with a "
                f"standard deviation of {self.noise:.4f} between seeds."
            )
        verdict = (
            "which is more than the noise between seeds"
            if self.exceeds_noise
            else "which noise between seeds may explain"
        )
        return (
            f"With {seeds}, the best settings reach {mean(self.best):.4f} and the given ones {mean(self.given):.4f}: "
            f"a gain of {self.gain:+.4f}, at 95% confidence between {self.gain - self.half_width:+.4f} and "
            f"{self.gain + self.half_width:+.4f}, {verdict}. The standard deviation between seeds is "
            f"{self.best_noise:.4f} and {self.noise:.4f}."
        )
