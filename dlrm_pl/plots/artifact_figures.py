"""Figures of an artifact, each an ``<svg>`` element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dlrm_pl.artifact.writing.sensitivities import Sensitivity
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.pages.colours import SERIES
from dlrm_pl.pages.figures import marks
from dlrm_pl.pages.figures.chart import LINE_HEIGHT, WIDTH, Legend, drawing
from dlrm_pl.pages.figures.named_bars import Bar, NamedBars, named_bars
from dlrm_pl.pages.figures.scale import Scale

MOST_NAMED = 48
"""Maximum number of tables or ops that a figure names; the page's tables list all of them."""

_BOX, _LEFT = 14.0, 96.0


class Part(NamedTuple):
    """A part of a model.

    Attributes:
        name: its name.
        dtype: its numeric format.
        fp32_bytes: bytes of the float model's part.
        artifact_bytes: bytes in the artifact.
    """

    name: str
    dtype: str
    fp32_bytes: int
    artifact_bytes: int


def bytes_figure(parts: Sequence[Part]) -> str:
    """Draw the bytes of each part before and after, from zero on a linear axis; if there are many, only the largest."""
    order = sorted(range(len(parts)), key=lambda at: -parts[at].fp32_bytes)
    shown, others = [parts[at] for at in sorted(order[:MOST_NAMED])], [parts[at] for at in order[MOST_NAMED:]]
    if others:
        before, after = (sum(getattr(part, name) for part in others) for name in ("fp32_bytes", "artifact_bytes"))
        shown.append(Part(f"{len(others):,} others", "", before, after))
    legend = Legend()
    legend.add("fp32", "box", "fp32")
    legend.add("artifact", "box", "int8")
    rows = [
        NamedBars(
            f"{part.name} {part.dtype}".rstrip(),
            [Bar(part.fp32_bytes, "fp32"), Bar(part.artifact_bytes, "int8")],
            text=f"{format_bytes(part.fp32_bytes)} to {format_bytes(part.artifact_bytes)}",
            words=f"{part.name}: {part.fp32_bytes:,} bytes in fp32, {part.artifact_bytes:,} in the artifact",
        )
        for part in shown
    ]
    before, after = sum(part.fp32_bytes for part in parts), sum(part.artifact_bytes for part in parts)
    words = f"Bytes of {len(parts)} parts: {format_bytes(before)} in fp32, {format_bytes(after)} in the artifact."
    scale = Scale.of_bytes(max(part.fp32_bytes for part in shown), room=0.75)
    return named_bars(words, rows, scale, label="bytes", legend=legend, thickness=7)


def dtypes_figure(ops: Mapping[str, str]) -> str:
    """Draw each op as a box in the colour of its dtype, with the ops of a part side by side.

    Args:
        ops: dtype of each op, by names like ``bottom_mlp.0`` and ``tables.3``.
    """
    dtypes = sorted(set(ops.values()), key=lambda dtype: (dtype.startswith("fp"), dtype))
    colours = {dtype: "fp32" if dtype == "fp32" else SERIES[at % len(SERIES)] for at, dtype in enumerate(dtypes)}
    legend = Legend()
    for dtype in dtypes:
        legend.add(dtype, "box", colours[dtype])
    parts: dict[str, list[tuple[str, str]]] = {}
    for op, dtype in ops.items():
        parts.setdefault(op.partition(".")[0], []).append((op, dtype))
    in_line = int((WIDTH - _LEFT) // _BOX)
    found, y = [], 2.0
    for part, members in parts.items():
        found.append(marks.text(_LEFT - 6, y + 10, marks.shortened(part, _LEFT - 8), anchor="end"))
        for at, (op, dtype) in enumerate(members):
            x, row = _LEFT + at % in_line * _BOX, at // in_line
            box = marks.box(x, y + row * _BOX, _BOX - 2, _BOX - 2, colours[dtype])
            found.append(marks.described([box], f"{op}: {dtype}"))
        y += ((len(members) - 1) // in_line + 1) * _BOX + 4
    counts = ", ".join(f"{sum(1 for one in ops.values() if one == dtype)} {dtype}" for dtype in dtypes)
    return drawing(f"Dtype of {len(ops)} ops: {counts}.", [legend.draw(), (found, max(y, LINE_HEIGHT))])


def sensitivities_figure(drops: Sequence[Sensitivity], ops: Mapping[str, str]) -> str | None:
    """Draw the drop of each op as a bar, with its 95 % interval if known; None if there is none.

    For an op that was measured in several dtypes, the bar shows the dtype that the artifact has. If there are very many
    ops, only those with the largest drops are shown.
    """
    chosen: dict[str, Sensitivity] = {}
    for drop in drops:
        if drop.op not in chosen or drop.dtype == ops.get(drop.op):
            chosen[drop.op] = drop
    if not chosen:
        return None
    largest = sorted(chosen.values(), key=lambda drop: -drop.drop)[:MOST_NAMED]
    shown = [drop for drop in chosen.values() if drop in largest]
    rows, ends = [], [0.0]
    for drop in shown:
        half = 1.96 * (drop.standard_error or 0.0)
        whisker = (drop.drop - half, drop.drop + half) if drop.standard_error else None
        ends += whisker or (drop.drop,)
        name, colour = f"{drop.op} {drop.dtype}".rstrip(), "bad" if drop.drop > 0 else "good"
        rows.append(NamedBars(name, [Bar(drop.drop, colour, whisker)], words=f"{name}: {drop.drop:.6f}"))
    worst = largest[0]
    words = f"Drop of {len(chosen)} ops. The largest is {worst.drop:.6f}, of {worst.op}."
    scale = Scale.linear(ends, zero=True, form=lambda value: f"{value:.4g}", count=4)
    return named_bars(words, rows, scale, label="drop of the score (right is worse)")
