"""One figure of everything that a certificate judges, each quantity as a share of its own tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.verdict import RESULTS, drop_passed
from dlrm_pl.pages.figures import marks
from dlrm_pl.pages.figures.chart import LINE_HEIGHT, WIDTH, Legend, drawing
from dlrm_pl.pages.figures.marks import Shape
from dlrm_pl.pages.figures.scale import Scale

_LEFT, _STEP = 134.0, 24.0
_MOST = 300.0
_LOOKS: dict[bool | None, tuple[Shape, str]] = {
    True: ("circle", "good"),
    False: ("cross", "bad"),
    None: ("ring", "ink"),
}


class _Judged(NamedTuple):
    """A change in percent of its tolerance, with its one-sided bounds."""

    name: str
    change: float
    low: float | None
    high: float | None
    passed: bool | None


def judged(certificate: Certificate) -> str | None:
    """Draw the AUROC drop and the guards as percentages of their tolerances; None if no tolerance is above 0."""
    rows = list(_rows(certificate))
    if not rows:
        return None
    values = [v for row in rows for v in (row.change, row.low, row.high) if v is not None and math.isfinite(v)]
    scale = Scale.linear(
        [0.0, 110.0, *(min(max(value, -100.0), _MOST) for value in values)], form=lambda value: f"{value:.0f}%"
    )

    def at(value: float) -> float:
        return _LEFT + scale.at(value) * (WIDTH - _LEFT - 14)

    bottom = _STEP * len(rows) + 4
    beyond = marks.box(at(100), 0, WIDTH - 14 - at(100), bottom, "bad", opacity=0.1)
    found = [marks.described([beyond], "beyond the tolerance")]
    for tick, label in zip(scale.ticks, scale.labels, strict=True):
        found.append(marks.line(at(tick), 0, at(tick), bottom, "grid"))
        found.append(marks.text(at(tick), bottom + LINE_HEIGHT - 1, label, anchor="middle"))
    found.append(marks.line(at(0), 0, at(0), bottom, "muted"))
    found.append(marks.line(at(100), 0, at(100), bottom, "bad", width=1.5, dashed=True))
    legend = Legend()
    for number, row in enumerate(rows):
        y = _STEP * (number + 0.5) + 2
        shape, colour = _LOOKS[row.passed]
        drawn = [marks.text(_LEFT - 8, y + 4, marks.shortened(row.name, _LEFT - 12), anchor="end")]
        if row.low is not None and row.high is not None:
            drawn.append(marks.line(at(row.low), y, at(row.high), y, colour, width=2))
        drawn.append(marks.marker(at(row.change), y, shape, colour, size=4))
        if row.change > scale.high:
            text = f"{row.change:,.0f}%" if math.isfinite(row.change) else "from zero"
            drawn.append(marks.text(WIDTH - 24, y - 6, text, anchor="end"))
        found.append(marks.described(drawn, _describe(row)))
        legend.add(RESULTS[row.passed], shape, colour)
    label = "change in % of its tolerance (right is worse)"
    found.append(marks.text((_LEFT + WIDTH) / 2, bottom + 2 * LINE_HEIGHT - 1, label, anchor="middle", colour="muted"))
    words = "; ".join(_describe(row) for row in rows)
    return drawing(f"{words}.", [legend.draw(), (found, bottom + 2 * LINE_HEIGHT + 4)])


def _describe(row: _Judged) -> str:
    bounds = "" if row.low is None or row.high is None else f", between {row.low:.1f}% and {row.high:.1f}%"
    change = f"{row.change:.1f}% of the tolerance" if math.isfinite(row.change) else "a change from zero"
    return f"{row.name}: {change}{bounds}: {RESULTS[row.passed]}"


def _rows(certificate: Certificate) -> Iterator[_Judged]:
    """Yield what is compared with a tolerance that is not 0."""
    if certificate.rows and certificate.score == "AUROC" and certificate.tolerance > 0:
        unit = certificate.tolerance / 100
        low, high = certificate.auroc_drop_at_least, certificate.auroc_drop_at_most
        yield _Judged(
            "AUROC drop", certificate.auroc_drop / unit, _over(low, unit), _over(high, unit), drop_passed(certificate)
        )
    for guard in certificate.guards:
        if guard.tolerance:
            unit = guard.tolerance / 100
            low, high = _over(guard.at_least, unit), _over(guard.at_most, unit)
            yield _Judged(guard.title, guard.deviation / unit, low, high, guard.passed)
    stated = certificate.worst_slice
    if stated is not None and stated.worst is not None and stated.guard.tolerance:
        unit = stated.guard.tolerance / 100
        low, high = _over(stated.at_least, unit), _over(stated.at_most, unit)
        yield _Judged(f"slice {stated.worst.value}", stated.worst.drop / unit, low, high, stated.passed)


def _over(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit
