"""The decisive figure: the AUROC drop with its bounds, relative to zero and the tolerance."""

from __future__ import annotations

import math

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.verdict import drop_passed
from dlrm_pl.pages.figures import marks
from dlrm_pl.pages.figures.chart import LINE_HEIGHT, WIDTH, drawing
from dlrm_pl.pages.figures.scale import Scale

_TOP, _MIDDLE, _BOTTOM = 20.0, 50.0, 92.0
_COLOURS = {True: "good", False: "bad", None: "ink"}


def interval(certificate: Certificate) -> str | None:
    """Draw the AUROC drop and its one-sided bounds as shares of fp32's AUROC, with zero and the tolerance."""
    drop = _percent(certificate, certificate.auroc_drop)
    if drop is None:
        return None
    low, high = (_percent(certificate, b) for b in (certificate.auroc_drop_at_least, certificate.auroc_drop_at_most))
    judged = certificate.score == "AUROC"
    tolerance = _percent(certificate, certificate.tolerance) if judged else None
    passed = drop_passed(certificate) if judged else None
    known = [value for value in (drop, low, high, tolerance) if value is not None]
    scale = Scale.linear([0.0, *known], room=0.12)

    def at(value: float) -> float:
        return 8 + scale.at(value) * (WIDTH - 16)

    found = _axis(scale, at(0.0))
    words = [f"AUROC drop {drop:.4f} percent of fp32's AUROC"]
    if tolerance is not None:
        found += _tolerance(at(tolerance), tolerance)
        words.append(f"tolerance {tolerance:.4f} percent")
    colour = _COLOURS[passed]
    bounds = [("at least", low, passed is not True), ("at most", high, passed is not False)]
    ends = [at(value) for _, value, _ in bounds if value is not None]
    if ends:
        found.append(marks.line(min(ends), _MIDDLE, max(ends), _MIDDLE, colour, width=3))
        found += [marks.line(end, _MIDDLE - 6, end, _MIDDLE + 6, colour, width=2) for end in ends]
    row = _MIDDLE + 19
    for name, value, decides in bounds:
        if value is None:
            continue
        words.append(f"{name} {value:.4f} percent with {certificate.confidence:.0%} confidence")
        if decides:
            text = f"{name} {value:.4f}% ({certificate.confidence:.0%} confidence)"
            found.append(_beside(at(value), row, text, bold=True))
            row += LINE_HEIGHT - 1
    found.append(marks.marker(at(drop), _MIDDLE, "circle", colour, size=5))
    found.append(_beside(at(drop), _MIDDLE - 10, f"drop {drop:.4f}%", bold=True))
    return drawing(", ".join(words) + ".", [(found, _BOTTOM + 2 * LINE_HEIGHT + 6)])


def _axis(scale: Scale, zero: float) -> list[str]:
    """Draw the axis, its ticks, and the line of no drop."""
    found = []
    for tick, label in zip(scale.ticks, scale.labels, strict=True):
        x = 8 + scale.at(tick) * (WIDTH - 16)
        found.append(marks.line(x, _BOTTOM, x, _BOTTOM + 4, "muted"))
        found.append(marks.text(x, _BOTTOM + LINE_HEIGHT + 1, label, anchor="middle"))
    label = "AUROC drop in % of fp32's AUROC (right is worse)"
    return [
        marks.line(8, _BOTTOM, WIDTH - 8, _BOTTOM, "muted"),
        *found,
        marks.described([marks.line(zero, _TOP, zero, _BOTTOM, "muted", width=1.5)], "zero: as good as fp32"),
        marks.text(WIDTH / 2, _BOTTOM + 2 * LINE_HEIGHT + 2, label, anchor="middle", colour="muted"),
    ]


def _tolerance(x: float, tolerance: float) -> list[str]:
    """Draw what lies beyond the tolerance as an area, and the tolerance as a line with its name."""
    beyond = marks.box(x, _TOP, WIDTH - 8 - x, _BOTTOM - _TOP, "bad", opacity=0.1)
    limit = marks.line(x, _TOP - 4, x, _BOTTOM, "bad", width=1.5, dashed=True)
    return [
        marks.described([beyond, limit], "beyond this line, the drop is not accepted"),
        _beside(x, 11, f"tolerance {tolerance:.4f}%", colour="bad"),
    ]


def _beside(x: float, y: float, words: str, *, bold: bool = False, colour: str = "ink") -> str:
    """Write a text centred at a place, or as near as the edges of the drawing allow."""
    half = (1.12 if bold else 1.0) * marks.text_width(words) / 2
    return marks.text(min(max(x, half), WIDTH - half), y, words, anchor="middle", bold=bold, colour=colour)


def _percent(certificate: Certificate, value: float | None) -> float | None:
    """Return a drop in percent of fp32's AUROC; None where it is unknown."""
    base = certificate.fp32["auroc"]
    if value is None or not base:
        return None
    share = 100 * value / base
    return share if math.isfinite(share) else None
