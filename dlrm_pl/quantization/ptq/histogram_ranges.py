"""From a histogram of an activation to the range that 256 levels should cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVELS = 256
TAIL = 1e-6
"""Share of the values that ``percentile_range`` leaves out at either end. Click models order their few clicks by what
lies in the tails: on a trained model 1e-4 lost 0.079 % of AUROC, 1e-5 0.007 %, 1e-6 0.001 %, no cut 0.003 %."""

# Candidates of the search for the least divergence, evenly spread.
_CANDIDATES = 128
_SMALLEST = 1e-12


def percentile_range(counts: npt.NDArray[Any], low: float, high: float, tail: float = TAIL) -> tuple[float, float]:
    """Leave out the outermost values, so that a few outliers do not make the steps of all others coarse.

    Args:
        counts: of equal bins from ``low`` to ``high``.
        low: lower edge of the first bin.
        high: upper edge of the last.
        tail: share of the values left out at either end; inside a bin they count as evenly spread.
    """
    mass = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    edges = np.linspace(low, high, len(counts) + 1)
    # Where a run of bins is empty the quantile is not one point: the outer end for neither side to cut values off.
    cut_low = _quantile(mass, edges, tail)
    cut_high = -_quantile((mass[-1] - mass)[::-1], -edges[::-1], tail)
    return min(cut_low, cut_high), max(cut_low, cut_high)


def _quantile(mass: Floats, edges: Floats, share: float) -> float:
    """The lowest value with at least ``share`` of the mass below it, linear inside a bin."""
    target = share * mass[-1]
    upper = int(np.searchsorted(mass, target, side="left"))
    if upper == 0:
        return float(edges[0])
    inside = (target - mass[upper - 1]) / (mass[upper] - mass[upper - 1])
    return float(edges[upper - 1] + inside * (edges[upper] - edges[upper - 1]))


def kl_range(counts: npt.NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """The range whose 256 levels tell least less than the histogram: smallest Kullback-Leibler divergence.

    The upper end is searched with the lower one fixed, then the lower end; an activation behind a ReLU keeps its 0.
    Zeros, half of all values behind a ReLU, are exact in any range and so tell nothing of it; counted, they would
    draw the range to themselves (measured on a trained model: a AUROC drop of 2.9 % instead of 0.35 to 0.73 %).

    Args:
        counts: of equal bins from ``low`` to ``high``, more than 256.
        low: lower edge of the first bin.
        high: upper edge of the last.

    Source: Migacz 2017, "8-bit Inference with TensorRT" (entropy calibration), for both ends of a range.
    """
    if low == high:  # A constant has nothing to cut off.
        return low, high
    counts = np.asarray(counts, dtype=np.float64)
    width = (high - low) / len(counts)
    counts = _without_zeros(counts, int(-low / width) if low < 0 else 0)
    kept = _best_end(counts)
    first = len(counts[:kept]) - _best_end(_clipped(counts, 0, kept)[::-1]) if low < 0 else 0
    return low + first * width, low + kept * width


def _without_zeros(counts: Floats, zero: int) -> Floats:
    """The bin of 0 with no more than its neighbours have on average."""
    if not 0 <= zero < len(counts):
        return counts
    neighbours = [counts[index] for index in (zero - 1, zero + 1) if 0 <= index < len(counts)]
    result = counts.copy()
    result[zero] = min(result[zero], float(np.mean(neighbours)))
    return result


def _best_end(counts: Floats) -> int:
    """How many bins from the first on to keep."""
    ends = np.unique(np.linspace(min(LEVELS, len(counts)), len(counts), _CANDIDATES).astype(int))
    divergences = [divergence(counts, int(end)) for end in ends]
    # Of equals the widest, which cuts nothing off.
    return int(ends[len(ends) - 1 - int(np.argmin(divergences[::-1]))])


def divergence(counts: npt.NDArray[Any], end: int) -> float:
    """From the histogram clipped to its first ``end`` bins to what 256 levels make of them, in nats.

    What lies beyond is clamped into the last bin of the reference and lost to the levels, which is what it costs.
    """
    reference = _clipped(np.asarray(counts, dtype=np.float64), 0, end)
    kept = np.asarray(counts[:end], dtype=np.float64)
    level = np.arange(end) * LEVELS // end
    present = kept > 0
    sums = np.bincount(level, weights=kept, minlength=LEVELS)
    bins = np.bincount(level, weights=present, minlength=LEVELS)
    # A level gives back its mass evenly to those of its bins that had any.
    levels = np.where(present, (sums / np.maximum(bins, 1))[level], 0.0)
    if not levels.sum():
        return float("inf")
    p, q = reference / reference.sum(), levels / levels.sum()
    some = p > 0
    return float((p[some] * np.log(p[some] / np.maximum(q[some], _SMALLEST))).sum())


def _clipped(counts: Floats, first: int, end: int) -> Floats:
    """Bins ``first`` to ``end``, with all that lies beyond added to the outermost of them."""
    kept = counts[first:end].copy()
    kept[0] += counts[:first].sum()
    kept[-1] += counts[end:].sum()
    return kept
