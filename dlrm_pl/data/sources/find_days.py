"""The days of a source, found before its rows are read."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import accumulate

from dlrm_pl.data.sources.arrays.types import one_array
from dlrm_pl.data.sources.days import DayColumn, Days, parse_split_by
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.names import require_names, shown_name
from dlrm_pl.data.sources.readers.find import natural_text_key
from dlrm_pl.data.sources.source import Source
from dlrm_pl.errors import ConfigurationError, DataFormatError

log = logging.getLogger(__name__)

MOST_DAYS = 1_000
"""Largest number of days."""


def find_days(source: Source, split_by: str, days: int | None = None) -> Days:
    """Return the days that the rows of a source are divided into.

    Args:
        source: the files.
        split_by: ``files``: each file is a day; ``rows``: rows are divided, in order, into ``days`` parts of equal
            length, the first ones a row longer if needed; ``COLUMN``: each value of a column is a day, sorted with
            numbers by value; ``COLUMN[:N]``: the first N characters of each value are the day. For these, all values of
            the column are read once; the day of a timestamp is its date.
        days: number of days: required for ``rows``; otherwise None, or the number of days that there must be.

    Raises:
        ConfigurationError: ``split_by`` or ``days`` has a wrong value.
        DataFormatError: the column is missing or has a type that cannot state days, or there are too few rows or too
            many days.
    """
    column = parse_split_by(split_by)
    if column is not None:
        return _checked(_by_column(source, split_by, column), days, source)
    if split_by == "files":
        names = tuple(file.path.name for file in source.files)
        rows = tuple(source.file_rows)
        return _checked(Days(split_by, names, rows, tuple((file, 0) for file in range(len(names)))), days, source)
    if days is None or days < 1:
        raise ConfigurationError("split_by=rows needs the number of days. Give --days N.")
    return _by_rows(source, days)


def _by_rows(source: Source, days: int) -> Days:
    counts = [_counted(source, file) if rows is None else rows for file, rows in enumerate(source.file_rows)]
    total = sum(counts)
    if total < days:
        rows = f"{total:,} rows are" if total != 1 else "1 row is"
        raise DataFormatError(f"{source.path}: {rows} too few for {days} days.")
    lengths = [total // days + (day < total % days) for day in range(days)]
    ends = list(accumulate(counts))
    starts, names = [], []
    for first, length in zip(accumulate(lengths, initial=0), lengths, strict=False):
        file = next(index for index, end in enumerate(ends) if first < end)
        starts.append((file, first - (ends[file] - counts[file])))
        names.append(f"rows {first:,} to {first + length - 1:,}")
    return Days("rows", tuple(names), tuple(lengths), tuple(starts))


def _counted(source: Source, file: int) -> int:
    log.info("%s: counting rows", source.files[file].path)
    name = source.columns.dense[0].name
    return sum(batch.table.num_rows for batch in source.column_batches(name, file))


def _by_column(source: Source, split_by: str, column: DayColumn) -> Days:
    pa = arrow()
    for path, schema in source.schemas:
        require_names([column.name], schema.names, str(path), of_schema=False)
        if wrong := column.misfit(schema.field(column.name).type):
            raise DataFormatError(f"{path}: column {column.name}: {wrong}.")
    log.info("%s: reading the days in column %s", source.path, column.name)
    counts: Counter[str] = Counter()
    for file in range(len(source.files)):
        for batch in source.column_batches(column.name, file):
            counted = pa.compute.value_counts(one_array(batch.table.column(0)))
            texts = column.texts(counted.field("values")).to_pylist()
            for text, count in zip(texts, counted.field("counts").to_pylist(), strict=True):
                if text is not None:
                    counts[text] += count
        if len(counts) > MOST_DAYS:
            raise DataFormatError(
                f"{source.path}: column {column.name} has more than {MOST_DAYS:,} different values to be used as "
                f"days, such as {', '.join(map(shown_name, sorted(counts)[:3]))}. Use only their first characters, "
                f"for example with --split_by {column.name}[:6], or another column."
            )
    names = sorted(counts, key=natural_text_key)
    if not names:
        raise DataFormatError(f"{source.path}: column {column.name} has no values.")
    return Days(split_by, tuple(names), tuple(counts[name] for name in names))


def _checked(found: Days, days: int | None, source: Source) -> Days:
    if days is None or days == len(found.names):
        return found
    raise DataFormatError(
        f"{source.path}: has {len(found.names)} days by {found.split_by} ({', '.join(map(shown_name, found.names[:5]))}"
        f"{', ...' if found.names[5:] else ''}), not {days}. Leave out --days, or split by rows."
    )
