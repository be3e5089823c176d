"""Small click logs as CSV, Parquet and Arrow files: one shaped like Avazu's, one with lists, floats and strings.

Clicks depend on the features, so that a model can learn something from a few thousand rows.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns

SHOP = Columns(
    "clicked",
    (
        DenseColumn(name="age"),
        DenseColumn(name="price", type="float", transform="standardize"),
        DenseColumn(name="offset", transform="none"),
    ),
    (
        SparseColumn(name="city", kind="string"),
        SparseColumn(name="product", kind="integer", ids="hash", rows=50),
        SparseColumn(name="tags", kind="string", at_most=4, pooling="mean"),
        SparseColumn(name="viewed", kind="integer", at_most=6),
        SparseColumn(name="slot", kind="integer", ids="modulo", rows=7),
    ),
)
"""The columns of ``shop_table``: two of them are lists, and each id method occurs once."""

_OF_AVAZU = Columns.read("avazu")
AVAZU = Columns(
    _OF_AVAZU.label, (DenseColumn(name="visits"),), (SparseColumn(name="hour", kind="integer"), *_OF_AVAZU.sparse)
)
"""The columns of ``avazu_table``, with ``hour`` as a category: 1 dense, 22 sparse."""

CITIES = [
    "Berlin",
    "São Paulo",
    "Αθήνα",
    "Київ",
    "القاهرة",
    "東京",
    "서울",
    "मुंबई",
    "🏙️ Metropolis",
    'a "quoted", place',
    "",
]
TAGS = ["new", "sale", "größer", "скидка", "特価", "خصم", "🔥", "n/a", "null"]


def avazu_table(rows: int, seed: int = 1, first_day: int = 21) -> pa.Table:
    """A day of clicks with the columns of Avazu's challenge of 2014 and one more; ``hour`` is YYMMDDHH."""
    rng = np.random.default_rng(seed)
    sites, apps, models = rng.integers(0, 60, rows), rng.integers(0, 25, rows), rng.integers(0, 90, rows)
    position = rng.choice([0, 1, 2, 7], rows, p=[0.7, 0.25, 0.03, 0.02])
    probability = 1 / (1 + np.exp(1.5 - 0.9 * np.sin(sites * 2.0) - 0.7 * np.cos(apps * 3.0) - 0.4 * (position == 1)))

    def texts(numbers: Any, salt: int) -> list[str]:
        return [f"{int(number) * 2654435761 + salt & 0xFFFFFFFF:08x}" for number in numbers]

    hours = np.sort(rng.integers(0, 24, rows))
    return pa.table(
        {
            "id": pa.array(rng.integers(0, 1 << 63, rows), pa.int64()),
            "click": pa.array((rng.random(rows) < probability).astype(np.int8)),
            "hour": pa.array(14100000 + first_day * 100 + hours, pa.int32()),
            "C1": pa.array(rng.choice([1001, 1002, 1005, 1010], rows)),
            "banner_pos": pa.array(position),
            "site_id": texts(sites, 1),
            "site_domain": texts(sites // 2, 2),
            "site_category": texts(sites % 9, 3),
            "app_id": texts(apps, 4),
            "app_domain": texts(apps // 3, 5),
            "app_category": texts(apps % 5, 6),
            "device_id": texts(np.where(rng.random(rows) < 0.8, 0, rng.integers(0, 400, rows)), 7),
            "device_ip": texts(rng.integers(0, 700, rows), 8),
            "device_model": texts(models, 9),
            "device_type": pa.array(rng.choice([0, 1, 4, 5], rows)),
            "device_conn_type": pa.array(rng.choice([0, 2, 3, 5], rows)),
            "C14": pa.array(15700 + rng.integers(0, 120, rows)),
            "C15": pa.array(rng.choice([216, 300, 320], rows)),
            "C16": pa.array(rng.choice([36, 50, 250], rows)),
            "C17": pa.array(1700 + rng.integers(0, 60, rows)),
            "C18": pa.array(rng.integers(0, 4, rows)),
            "C19": pa.array(rng.choice([35, 39, 167, 1839], rows)),
            "C20": pa.array(np.where(rng.random(rows) < 0.4, -1, 100000 + rng.integers(0, 80, rows))),
            "C21": pa.array(rng.choice([23, 33, 79, 221], rows)),
            "visits": pa.array(rng.poisson(3, rows)),
        }
    )


def shop_table(rows: int, seed: int = 1, day: int = 1) -> pa.Table:
    """A day of clicks with the columns of ``SHOP`` and a time; all columns but the label have missing values."""
    rng = np.random.default_rng(seed)
    city, product = rng.integers(0, len(CITIES), rows), rng.integers(-30, 30, rows)
    price, age = rng.normal(50, 20, rows).astype(np.float32), rng.integers(-1, 90, rows)
    tags = [rng.integers(0, len(TAGS), rng.integers(0, 5)) for _ in range(rows)]
    viewed = [rng.integers(0, 40, rng.integers(0, 7)) for _ in range(rows)]
    taste = np.array([np.sin(np.arange(len(TAGS)) * 2.0)[each].mean() if len(each) else 0 for each in tags])
    seen = np.array([0.3 * np.cos(each * 1.0).sum() for each in viewed])
    probability = 1 / (1 + np.exp(1.2 - 0.8 * np.cos(city * 2.0) - taste - seen + (price - 50) / 40))

    def with_gaps(values: list[Any], type_: pa.DataType) -> pa.Array:
        gaps = rng.random(rows) < 0.05
        return pa.array([None if gap else value for value, gap in zip(values, gaps, strict=True)], type_)

    start = datetime.datetime(2026, 3, day)
    seconds = np.sort(rng.integers(0, 86400, rows)).tolist()
    return pa.table(
        {
            "clicked": pa.array(rng.random(rows) < probability),
            "time": pa.array([start + datetime.timedelta(seconds=each) for each in seconds], pa.timestamp("us")),
            "age": with_gaps(age.tolist(), pa.int16()),
            "price": with_gaps(price.tolist(), pa.float64()),
            "offset": with_gaps(rng.integers(-5, 6, rows).tolist(), pa.int64()),
            "city": with_gaps([CITIES[each] for each in city], pa.string()),
            "product": with_gaps(product.tolist(), pa.int32()),
            "tags": with_gaps([[TAGS[i] for i in each] for each in tags], pa.list_(pa.string())),
            "viewed": with_gaps([each.tolist() for each in viewed], pa.large_list(pa.int64())),
            "slot": with_gaps(rng.integers(0, 30, rows).tolist(), pa.uint8()),
        }
    )


def write_csv(table: pa.Table, path: Path, delimiter: str = ",") -> Path:
    """Write a text file with a header; missing values are empty fields, and an empty string is ``""``."""
    options = pyarrow.csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
    with pa.CompressedOutputStream(str(path), "gzip") if path.suffix == ".gz" else path.open("wb") as file:
        pyarrow.csv.write_csv(table, file, options)
    return path


def write_parquet(tables: list[pa.Table], folder: Path, rows_a_group: int = 1000) -> Path:
    """Write a folder with one file per table, named in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(tables):
        pyarrow.parquet.write_table(table, folder / f"part-{number:03d}.parquet", row_group_size=rows_a_group)
    return folder


def write_arrow(tables: list[pa.Table], folder: Path) -> Path:
    """Write the same as Arrow files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(tables):
        pyarrow.feather.write_feather(table, str(folder / f"part-{number:03d}.arrow"), compression="zstd")
    return folder
