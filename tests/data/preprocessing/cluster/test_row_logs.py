"""Files with named columns on a cluster: days may be mixed across files; values are numbers, strings and lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.cluster import ranges
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.sources import source
from tests.support.logs.click_tables import SHOP, shop_table, write_csv, write_parquet
from tests.support.logs.raw_logs import contents
from tests.support.processes.clusters import ClusterHere, cluster_here


@pytest.fixture(scope="module")
def tables() -> list[pa.Table]:
    return [shop_table(rows, seed=day, day=day) for day, rows in enumerate((700, 901, 501), start=1)]


@pytest.mark.each_value
@pytest.mark.parametrize("rule", ["reference", "train_only"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"randomize": "day", "split_by": "rows", "days": 5},
        {"split_by": "time[:10]", "subsample_rate": 0.3},
        {"split_by": "time[:10]", "randomize": "none", "bad_rows": 0.1},
    ],
    ids=str,
)
def test_equals_one_machine(
    tables: list[pa.Table],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    rule: Any,
) -> None:
    monkeypatch.setattr(source, "CHUNK_ROWS", 256)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1)
    monkeypatch.setattr("dlrm_pl.data.preprocessing.options._SMALL_BUCKET", 1 << 16)
    if options.get("split_by") == "time[:10]":  # Each file has rows of every day.
        mixed = pa.concat_tables(tables).take(pa.array(sorted(range(2102), key=lambda row: row * 7919 % 2102)))
        tables = [mixed.slice(0, 800), mixed.slice(800, 500), mixed.slice(1300)]
    shop, columns = tmp_path / "shop", SHOP
    if rule == "reference":  # As text, which cannot contain lists.
        columns = Columns(SHOP.label, SHOP.dense, tuple(column for column in SHOP.sparse if not column.is_list))
        shop.mkdir()
        for number, table in enumerate(tables):
            write_csv(table.drop_columns(["tags", "viewed"]), shop / f"part-{number}.csv")
    else:
        write_parquet(tables, shop, 300)
    chosen = PreprocessOptions(
        columns=columns, vocabulary=rule, min_count=2 if rule == "train_only" else 1, memory_bytes=32 << 20, **options
    )
    preprocess(shop, tmp_path / "one", chosen)
    for machines in (1, 3):
        with cluster_here(ClusterHere(machines)):
            preprocess(shop, tmp_path / f"on {machines}", chosen, cluster="anywhere")
        assert contents(tmp_path / f"on {machines}") == contents(tmp_path / "one")
