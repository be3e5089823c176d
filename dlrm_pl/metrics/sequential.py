"""A paired sequential test, whose interval is valid at every look while rows come in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.paired import PairedDifference

GROWTH = 2
"""Factor between the rows of a look and those of the previous one: sorting all rows again at each look costs at most
twice the last sort."""

MIN_OF_A_CLASS = 30
"""Number of clicks, and of non-clicks, that a look needs before it may end the test: with fewer, sums are far from
normally distributed."""

Decision = Literal["within", "beyond", "open"]


@dataclass(frozen=True)
class Look:
    """Estimate and bounds of the drop after one look at the rows.

    Attributes:
        number: number of the look, from 1.
        rows: number of rows read so far.
        estimate: estimated drop.
        low: lower bound of the drop, see ``alpha_spent``; -inf where it is unknown.
        high: upper bound of the drop; inf where it is unknown.
        tolerance: tolerated drop.
        last: whether no further rows will come.
    """

    number: int
    rows: int
    estimate: float
    low: float
    high: float
    tolerance: float
    last: bool

    @property
    def decision(self) -> Decision:
        """Side of the tolerance that the whole interval is on."""
        return side_of(self.low, self.high, self.tolerance)

    @property
    def rows_needed(self) -> int | None:
        """Approximate number of rows that would decide if the estimate is right; None if it equals the tolerance."""
        return rows_to_decide(self.rows, self.estimate, self.high, self.tolerance)


def side_of(low: float, high: float, tolerance: float) -> Decision:
    """Return the side of a tolerance that a whole interval is on; ``open`` if it contains the tolerance."""
    if high <= tolerance:
        return "within"
    return "beyond" if low > tolerance else "open"


def rows_to_decide(rows: int, estimate: float, high: float, tolerance: float) -> int | None:
    """Estimate how many rows would decide if an estimate is right; None if it (nearly) equals the tolerance.

    The distance of a bound from its estimate shrinks with the square root of the number of rows.

    Args:
        rows: number of rows so far.
        estimate: estimated drop on them.
        high: upper bound of the drop.
        tolerance: tolerated drop.
    """
    distance, margin = abs(tolerance - estimate), high - estimate
    if not distance or not math.isfinite(margin):
        return None
    times = max(1.0, margin / distance)
    needed = rows * times * times  # Not a power, which raises an error on overflow.
    return math.ceil(needed) if math.isfinite(needed) else None


def alpha_spent(look: int, *, confidence: float, last: bool) -> float:
    """Return the share of the error probability ``1 - confidence`` that one look spends, on each side.

    This is alpha spending (Lan and DeMets 1983): the error probabilities of the looks add up to the allowed one, so
    that (union bound) all intervals of all looks together hold with the confidence. Look k spends ``1 / (k * (k + 1))``
    of it, and the last look spends all that is left, ``1 / k``.

    Why this function: O'Brien-Fleming's keeps nearly everything for the end, but here a trial costs as much as it
    reads, and most trials are clear after one or two percent of the rows; so half is spent at the first look. The
    function does not need the number of looks in advance, since rows come from an iterator of unknown length. Why the
    union bound instead of integrating over the joint distribution of the looks: that would need independent increments,
    and since the rows double, looks depend so little on each other that it would save only a few percent of rows. A
    confidence sequence (Howard et al. 2021) would hold at every single row, but is wider at the looks that are taken.

    Source: Lan, DeMets 1983, Biometrika 70:659; for ROC curves: Tang, Emerson, Zhou 2008, Biometrics 64:1137.
    """
    return (1 - confidence) / (look if last else look * (look + 1))


def look_at(
    difference: PairedDifference, *, number: int, tolerance: float, confidence: float, last: bool, rows: int
) -> Look:
    """Make a look from the difference on the rows so far.

    Before the last look, with few rows of a class, the bounds are infinite.
    """
    too_few = min(difference.num_positives, difference.num_negatives) < (2 if last else MIN_OF_A_CLASS)
    margin = math.inf
    if not too_few:
        margin = difference.margin(alpha_spent(number, confidence=confidence, last=last))
    estimate = difference.difference
    return Look(number, rows, estimate, estimate - margin, estimate + margin, tolerance, last)


def next_look(rows: int, first_block: int) -> int:
    """Return the number of rows of the next look after one with ``rows`` (0 before the first).

    Raises:
        ConfigurationError: the first block has no rows.
    """
    if first_block < 1:
        raise ConfigurationError(f"first_block={first_block} must be at least one row.")
    return first_block if rows == 0 else GROWTH * rows
