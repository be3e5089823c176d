"""Summary of a folder of days, as a few lines of text and as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlrm_pl.data.formats.torchrec.bag_tables import FOLDER_NAME, stated_settings
from dlrm_pl.data.formats.torchrec.folder import DaysFolder
from dlrm_pl.data.formats.torchrec.published import PublishedDays


@dataclass(frozen=True)
class Overview:
    """Contents of a folder of days.

    Attributes:
        lines: labels, each with its text.
        data: the same facts by name.
    """

    lines: tuple[tuple[str, str], ...]
    data: dict[str, Any]


def overview(days: DaysFolder) -> Overview:
    """Describe a folder of days.

    Raises:
        DataFormatError: the description of its lookup tables is damaged.
    """
    sizes = None if days.description is None else list(days.description.table_sizes)
    last = days.rows[-1]
    splits = {"train": sum(days.rows[:-1]), "val": (last + 1) // 2, "test": last // 2}
    bags = " ".join(map(str, days.widths))
    ids = f"bags of {bags}, {sum(days.widths)} ids in a row" if days.has_bags else "single ids"
    other = PublishedDays.mlperf().difference(days.rows)
    tables = days.path / FOLDER_NAME
    drawn = stated_settings(tables) if tables.is_dir() else None
    lines = [
        ("format", "days of TorchRec"),
        ("rows by day", " ".join(f"{rows:,}" for rows in days.rows)),
        *((name, f"{rows:,} rows") for name, rows in splits.items() if rows),
        ("dense", f"{days.num_dense} columns, float32"),
        ("sparse", f"{len(days.widths)} tables, {ids}"),
        ("tables", "rows not stated: data.table_sizes" if sizes is None else _sizes(sizes)),
    ]
    if drawn is not None:
        bags_drawn = " ".join(map(str, drawn.multi_hot_sizes))
        lines.append(("lookup tables", f"{drawn.distribution}, bags of {bags_drawn} over {_sizes(drawn.table_sizes)}"))
    lines.append(("published", f"no: {other}" if other else "rows as in MLPerf's data; --checksums compares all files"))
    data = {
        "format": "torchrec",
        "rows_by_day": list(days.rows),
        "splits": {name: {"rows": rows} for name, rows in splits.items() if rows},
        "num_dense": days.num_dense,
        "bags": list(days.widths),
        "has_bags": days.has_bags,
        "table_sizes": sizes,
        "lookup_tables": None if drawn is None else drawn.statement(),
        "has_published_rows": not other,
    }
    return Overview(tuple(lines), data)


def _sizes(sizes: list[int] | tuple[int, ...]) -> str:
    return f"{len(sizes)}, {sum(sizes):,} rows: {' '.join(f'{size:,}' for size in sizes)}"
