"""Figures of a dataset, each an ``<svg>`` element."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from dlrm_pl.data.survey.labels import LabelRate
from dlrm_pl.data.survey.skew import TOP, IdSkew
from dlrm_pl.data.survey.survey import Survey
from dlrm_pl.metrics.share_interval import share_interval
from dlrm_pl.pages.figures.chart import Chart, Legend, figure
from dlrm_pl.pages.figures.named_bars import Bar, NamedBars, named_bars
from dlrm_pl.pages.figures.scale import Scale, percent, round_step, short

MOST_NAMED = 48
"""Maximum number of columns or tables that a figure names; the page's tables list all of them."""

_MOST_BARS = 62
"""Maximum number of days that are drawn as bars; more are drawn as a line."""

_OPACITIES = (1.0, 0.68, 0.42, 0.2)


def label_rate_figure(rates: Sequence[LabelRate]) -> str:
    """Draw the click rate of each part: days as bars from zero, or a line if they are many; splits as named bars."""
    values = [rate.rate for rate in rates]
    words = f"Click rate by part, from {min(values):.4%} to {max(values):.4%}, for {len(rates)} parts."
    ends = [end for rate in rates for end in (interval(rate) or (rate.rate,))]
    scale = Scale.linear(ends, zero=True, room=0.08, form=percent)
    if not rates[0].name.startswith("day "):
        scale = Scale.linear(ends, zero=True, room=0.35, form=percent)
        bars = [
            NamedBars(rate.name, [Bar(rate.rate, "first", interval(rate))], f"{rate.rate:.3%}", _of_rate(rate))
            for rate in rates
        ]
        return named_bars(words, bars, scale, label="click rate", thickness=12)
    step = int(round_step(max(1.0, len(rates) / 8), whole=True))
    ticks = tuple(range(0, len(rates), step))
    days = Scale(-0.6, len(rates) - 0.4, ticks, tuple(map(str, ticks)))
    chart = Chart(days, scale, x_label="day", y_label="click rate", grid_x=len(rates) > _MOST_BARS)
    for day, rate in enumerate(rates) if len(rates) <= _MOST_BARS else ():
        chart.bar(day, 0.8, rate.rate, "first", y_range=interval(rate), words=_of_rate(rate))
    if len(rates) > _MOST_BARS:
        chart.line(enumerate(values), "first", words=words)
    return figure(words, [chart])


def interval(rate: LabelRate) -> tuple[float, float] | None:
    """Return the 95 % interval of a rate from a sample; None if all rows were counted."""
    return None if rate.sampled is None else share_interval(rate.rate, rate.sampled)


def table_sizes_figure(names: Sequence[str], sizes: Sequence[int]) -> str:
    """Draw the rows of each table as a bar from zero; if there are many tables, only the largest."""
    order = sorted(range(len(sizes)), key=lambda table: -sizes[table])
    shown, others = sorted(order[:MOST_NAMED]), order[MOST_NAMED:]
    bars = [NamedBars(names[at], [Bar(sizes[at], "first")], f"{sizes[at]:,}") for at in shown]
    if others:
        rest = sum(sizes[at] for at in others)
        bars.append(NamedBars(f"{len(others):,} others", [Bar(rest, "sixth")], f"{rest:,}"))
    scale = Scale.linear([bar.bars[0].value for bar in bars], zero=True, room=0.45, form=short)
    words = f"Rows of {len(sizes)} tables: {sum(sizes):,}, from {min(sizes):,} to {max(sizes):,}."
    return named_bars(words, bars, scale, label="rows of the table")


def skew_figure(survey: Survey) -> str:
    """Draw for each column the share of its most frequent ids; if there are many columns, only the most uneven."""
    legend = Legend()
    for at, (top, opacity) in enumerate(zip(TOP, _OPACITIES, strict=True)):
        name = "most frequent id" if not at else f"{top:,} most frequent"
        legend.add(name, "box", "first", opacity=opacity)
    order = sorted(range(len(survey.skew)), key=lambda at: -survey.skew[at].shares[0])
    bars = [_of_skew(survey.skew[at]) for at in sorted(order[:MOST_NAMED])]
    words = (
        f"Share of the ids of {len(survey.skew)} columns that are among the most frequent 1, 10, 100 and 1,000, in a "
        f"sample of {survey.sampled:,} rows of {survey.sampled_split}."
    )
    scale = Scale.linear([0.0, 1.0], zero=True, room=0.0, form=percent)
    label = f"share of the ids in {survey.sampled:,} rows of {survey.sampled_split}"
    return named_bars(words, bars, scale, label=label, legend=legend)


def missing_figure(missing: Sequence[tuple[str, float]]) -> str | None:
    """Draw the share of rows in which columns are missing, largest first; None if none ever is."""
    some = sorted(((name, rate) for name, rate in missing if rate), key=itemgetter(1), reverse=True)
    if not some:
        return None
    bars = [NamedBars(name, [Bar(rate, "second")], _share(rate)) for name, rate in some[:MOST_NAMED]]
    scale = Scale.linear([rate for _, rate in some], zero=True, room=0.3, form=percent)
    words = f"Share of rows with a missing value: {len(some)} of {len(missing)} columns, at most {some[0][1]:.2%}."
    return named_bars(words, bars, scale, label="share of rows without a value")


def _of_rate(rate: LabelRate) -> str:
    how = f"in a sample of {rate.sampled:,} of {rate.rows:,} rows" if rate.sampled else f"of {rate.rows:,} rows"
    return f"{rate.name}: {rate.rate:.4%} {how}"


def _of_skew(skew: IdSkew) -> NamedBars:
    shares = [f"{share:.1%} are the {top:,} most frequent" for top, share in zip(TOP, skew.shares, strict=True)]
    bars = [Bar(share, "first", opacity=opacity) for share, opacity in zip(skew.shares, _OPACITIES, strict=True)]
    words = f"{skew.name}: {', '.join(shares)} of {skew.distinct:,} different ids in the sample"
    return NamedBars(skew.name, bars, words=words, stacked=True)


def _share(value: float) -> str:
    """Write a share with two digits at least, and never as zero."""
    return f"{value:.1%}" if value >= 0.1 else f"{value:.2%}" if value >= 0.01 else f"{100 * value:.2g}%"
