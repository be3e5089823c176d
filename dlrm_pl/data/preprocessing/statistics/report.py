"""Data report: statistics of the logs, and warnings of signs that they are broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS
from dlrm_pl.data.preprocessing.statistics.common_values import common_values_line, largest_shares
from dlrm_pl.data.preprocessing.statistics.dense_bins import bounds_of, is_counted
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.tables.summary import TableSummary
from dlrm_pl.documents.fields import printable

# Consequence of a split whose labels are all of one class.
_WITHOUT_CLASSES = {
    "train": "a model cannot learn from it",
    "val": "AUROC is undefined on it, so `fit`, `validate` and `quantize` refuse it",
    "test": "AUROC is undefined on it, so `test` and `quantize` refuse it",
}
# Thresholds for the warnings. Fewer than a thousand rows say little about a distribution, so they give no warnings.
_ROWS_TO_JUDGE = 1000
_MOST_CLICKS = 0.5
_DISTINCT = 0.9
_MISSING_APART = 0.1
_LABELS_APART = 2.0
_DENSE_APART = 0.2
# 32-bit floats represent all integers up to this one exactly.
_EXACT = 2**24


def data_report(
    statistics: LogStatistics,
    tables: Sequence[TableSummary],
    rejected: Mapping[str, int],
    unknown_values: int,
    *,
    cut_lists: int = 0,
    names: Sequence[str] | None = None,
    missing_known: bool = True,
    modulus: int = 0,
) -> dict[str, Any]:
    """Return statistics and warnings about the logs in JSON types.

    Args:
        statistics: counts of all days.
        tables: summary of each table; empty if the vocabulary comes from another dataset.
        rejected: number of rows that were left out, by kind.
        unknown_values: number of category values that are not in the vocabulary.
        cut_lists: number of lists that were truncated.
        names: names of the parts that the rows are divided into, if these are not days.
        missing_known: whether missing values can be distinguished from zeros.
        modulus: modulus applied to the values of ``hex`` columns before they were counted; 0 for none.

    Returns:
        ``missing_rates``, ``largest_shares``, ``days``, ``rejected`` and ``warnings``; ``uncounted_columns`` if the
        values of some categorical columns were not counted.
    """
    uncounted = statistics.columns.num_sparse - sum(1 for table in tables if table.rows)
    days, names_of_columns = statistics.days, statistics.columns.names
    rows = sum(day.rows for day in days)
    missing = sum((day.missing for day in days), np.zeros(len(names_of_columns), np.int64)) / max(1, rows)
    return {
        "rows": rows,
        "missing_rates": {
            name: round(float(rate), 6)
            for name, rate in zip(names_of_columns[1:], missing[1:], strict=True)
            if missing_known
        },
        "largest_shares": largest_shares(statistics, tables, missing_known=missing_known, modulus=modulus),
        **({"uncounted_columns": uncounted} if uncounted else {}),
        "days": [
            {"rows": day.rows, "kept": day.kept, "label_rate": round(day.clicks / max(1, day.kept), 6)}
            for day in days
            if names is None
        ],
        "rejected": dict(rejected),
        "unknown_values": unknown_values,
        **({"cut_lists": cut_lists} if cut_lists else {}),
        "warnings": [
            *_warn_of_columns(statistics, tables),
            *_warn_of_rounding(statistics),
            *_warn_of_days(statistics, names or [f"day {number}" for number in range(len(days))]),
        ],
    }


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of the report as text."""
    missing = [(rate, name) for name, rate in report["missing_rates"].items() if rate]
    top = ", ".join(f"{name} {rate:.1%}" for rate, name in sorted(missing, reverse=True)[:8])
    lines = [f"missing    {len(missing)} of {len(report['missing_rates'])} columns" + (f", most: {top}" if top else "")]
    if not report["missing_rates"]:
        lines = ["missing    unknown: upstream's files have 0 in place of a missing value"]
    shares = common_values_line(report["largest_shares"])
    if uncounted := uncounted_words(report):
        shares += f"{'; ' * bool(shares)}{uncounted}"
    lines.append(f"most frequent values  {shares}")
    if report["rejected"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in report["rejected"].items())
        rejected = sum(report["rejected"].values())
        lines.append(f"rejected   {rejected:,} row{'s'[: rejected != 1]}: {kinds}; see rejected.tsv")
    if report["unknown_values"]:
        lines.append(f"unseen     {report['unknown_values']:,} category values are not in the vocabulary")
    if cut := report.get("cut_lists"):
        lines.append(f"cut        {cut:,} list{'s were' if cut != 1 else ' was'} longer than the column allows")
    # The lines contain values from the log.
    return [printable(line) for line in [*lines, *(f"warning: {warning}" for warning in report["warnings"])]]


def uncounted_words(report: Mapping[str, Any]) -> str:
    """Return a text saying that values of categorical columns were not counted; empty if all were."""
    count = report.get("uncounted_columns", 0)
    return f"not counted in {count} categorical column{'s'[: count != 1]}" if count else ""


def warn_of_classes(splits: Iterable[tuple[str, int, int]]) -> list[str]:
    """Return a warning for each split whose labels have one class; splits are given by name, rows and clicks."""
    return [
        f"the {split} split has {'no clicks' if not clicks else 'only clicks'} in {rows:,} row{'s'[: rows != 1]}: "
        f"{_WITHOUT_CLASSES[split]}. Use more rows, or divide the days differently."
        for split, rows, clicks in splits
        if clicks in (0, rows)
    ]


def warn_of_unseen(columns: Columns, tables: Sequence[TableSummary]) -> list[str]:
    """Return a warning that names the columns with no row for values that are not in the vocabulary."""
    names = [column.name for column, table in zip(columns.sparse, tables, strict=False) if not table.has_missing]
    if not names:
        return []
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [
        f"no row for missing or unseen values in {', '.join(names[:8])}{more}: they would be scored as the column's "
        "first value. --vocabulary train_only adds such a row."
    ]


def warn_of_single_rows(columns: Columns, tables: Sequence[TableSummary], min_count: int) -> list[str]:
    """Return a warning that names the columns of which ``min_count`` leaves only the row of all other values."""
    pairs = zip(columns.sparse, tables, strict=False)
    names = [
        column.name
        for column, table in pairs
        if table.rows and max(table.commonest_rows, table.missing_rows) < min_count
    ]
    if not names:
        return []
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [
        f"all values share one row in {', '.join(names[:8])}{more}: none has the {min_count:,} training rows that "
        "--min_count demands, so that a model cannot learn from them. Lower --min_count, or leave them out."
    ]


def _warn_of_columns(statistics: LogStatistics, tables: Sequence[TableSummary]) -> list[str]:
    days = statistics.days
    kept, clicks = sum(day.kept for day in days), sum(day.clicks for day in days)
    warnings = []
    if not clicks or clicks > _MOST_CLICKS * kept:
        label = statistics.columns.label
        warnings.append(f"{clicks / max(1, kept):.1%} of the rows are clicks: is {label} the column of the clicks?")
    if kept < _ROWS_TO_JUDGE:
        return warnings
    for dense, (feature, histogram) in enumerate(zip(statistics.columns.dense, statistics.histogram, strict=True)):
        bins = np.flatnonzero(histogram)
        if is_counted(feature) and len(bins) == 1 and bins[0] < DENSE_BINS - 1:
            # The histogram counts missing values as 0.
            missing = sum(int(day.missing[1 + dense]) for day in days)
            value = "missing" if missing == histogram.sum() else f"{bins[0]}{' or missing' if missing else ''}"
            warnings.append(f"{feature.name} is constant: {value} in every row.")
        elif not is_counted(feature) and (found := _constant(statistics, dense)):
            warnings.append(f"{feature.name} is {found}.")
    for column, table in zip(statistics.columns.sparse, tables, strict=False):
        name = column.name
        if table.rows and table.missing_rows == table.rows:
            warnings.append(f"{name} is constant: missing{' or 0' * (column.kind == 'hex')} in every row.")
        elif table.values == 1:
            warnings.append(f"{name} is constant: one value in every row.")
        elif table.rows and table.values > _DISTINCT * table.rows:
            warnings.append(
                f"{name} is nearly always distinct: {table.values:,} values in {table.rows:,} rows. A model cannot "
                "learn from an identifier; --vocabulary train_only --min_count 2 gives all such values one shared "
                "row."
            )
    return warnings


def _constant(statistics: LogStatistics, dense: int) -> str:
    """Return in which way a column whose values are not counted one by one is constant; "" if it is not."""
    bins = np.flatnonzero(statistics.histogram[dense])
    if not len(bins):
        return "constant: missing in every row"
    missing = " or missing" if any(day.missing[1 + dense] for day in statistics.days) else ""
    if not statistics.columns.dense[dense].computed:
        constant = statistics.moments.constant(dense)
        return "" if constant is None else f"constant: {constant:.7g}{missing} in every training row"
    if len(bins) > 1:
        return ""
    low, high = bounds_of(int(bins[0]))
    if 0 <= low < high < float(np.finfo(np.float32).tiny):
        return f"constant: 0{missing} in every row"
    return f"nearly constant: from {low:.4g} to {high:.4g}{missing} in every row"


def _warn_of_rounding(statistics: LogStatistics) -> Iterator[str]:
    """Yield a warning for each column whose integers are rounded when they are stored as floats."""
    for dense, column in enumerate(statistics.columns.dense):
        largest = max((int(day.largest[dense]) for day in statistics.days), default=0)
        if column.rounds_integers and largest > _EXACT:
            yield (
                f"{column.name}: values reach a magnitude of {largest:,}, but standardized columns hold 32-bit "
                f"floats, which round integers beyond {_EXACT:,}: values close to each other become equal. Subtract "
                "an offset, or use a larger unit, such as hours instead of seconds."
            )


def _warn_of_days(statistics: LogStatistics, names: Sequence[str]) -> list[str]:
    """Return warnings about days that differ from the median day."""
    days, columns = statistics.days, statistics.columns
    judged = [(name, day) for name, day in zip(names, days, strict=True) if day.rows >= _ROWS_TO_JUDGE]
    if len(judged) < 3:  # With two days, it is unknown which one is the outlier.
        return []
    labels = np.array([day.clicks / max(1, day.kept) for _, day in judged])
    missing = np.array([day.missing / day.rows for _, day in judged])
    dense = np.array([day.grouped / day.rows for _, day in judged])
    warnings = []
    typical = float(np.median(labels))
    for place, (name, _) in enumerate(judged):
        if typical and not 1 / _LABELS_APART <= labels[place] / typical <= _LABELS_APART:
            warnings.append(f"{name}: {labels[place]:.2%} clicks; the median day has {typical:.2%}.")
        apart = np.abs(missing[place] - np.median(missing, axis=0))
        column = int(apart.argmax())
        if apart[column] > _MISSING_APART:
            median = float(np.median(missing[:, column]))
            warnings.append(
                f"{name}: {columns.names[column]} is missing in {missing[place, column]:.1%} of the rows, but in "
                f"{median:.1%} on the median day."
            )
        distance = np.abs(dense[place] - np.median(dense, axis=0)).sum(axis=1) / 2
        feature = int(distance.argmax())
        if distance[feature] > _DENSE_APART:
            warnings.append(
                f"{name}: the distribution of {columns.dense[feature].name} differs from the median day's "
                f"(total variation {distance[feature]:.0%})."
            )
    return warnings
