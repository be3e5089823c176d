"""Files with named columns become the same dataset, record by record, as with a slow reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.options import PreprocessOptions, Randomize, VocabularyRule
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.sources import source
from dlrm_pl.errors import ConfigurationError, DataFormatError
from tests.reference.click_logs import records_of
from tests.support.logs.click_tables import SHOP, shop_table, write_csv, write_parquet
from tests.support.logs.raw_logs import contents, write_days
from tests.support.logs.row_logs import check, plain, split_rows, values_of

ROWS = (700, 901, 501)


@pytest.fixture(scope="module")
def tables() -> list[pa.Table]:
    return [shop_table(rows, seed=day, day=day) for day, rows in enumerate(ROWS, start=1)]


@pytest.fixture
def shop(tables: list[pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a folder of three days, to be read in small chunks."""
    monkeypatch.setattr(source, "CHUNK_ROWS", 256)
    return write_parquet(tables, tmp_path / "shop", 300)


@pytest.mark.each_value
@pytest.mark.parametrize("rule", ["reference", "train_only"])
@pytest.mark.parametrize("order", ["total", "day", "none"])
def test_records_are_those_of_the_reference(
    shop: Path, tables: list[pa.Table], tmp_path: Path, rule: VocabularyRule, order: Randomize
) -> None:
    options = PreprocessOptions(
        columns=SHOP, vocabulary=rule, randomize=order, min_count=2 if rule != "reference" else 1
    )
    report = preprocess(shop, tmp_path / "out", options)
    assert report.rows_by_day == ROWS
    check(report.folder, [table.to_pylist() for table in tables], options)


def test_mean_and_deviation_are_those_of_the_training_rows(shop: Path, tables: list[pa.Table], tmp_path: Path) -> None:
    price = preprocess(shop, tmp_path / "out", PreprocessOptions(columns=SHOP)).folder.columns.dense[1]
    values = np.concatenate([table["price"].drop_null().to_numpy() for table in tables[:-1]])
    assert (price.mean, price.deviation) == pytest.approx((values.mean(), values.std()), rel=1e-6)


@pytest.mark.parametrize("order", ["total", "day", "none"])
def test_days_of_a_column_may_be_mixed(
    tables: list[pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Randomize
) -> None:
    monkeypatch.setattr(source, "CHUNK_ROWS", 256)
    table = pa.concat_tables(tables)
    table = table.take(np.random.default_rng(0).permutation(len(table)))
    raw = write_parquet([table.slice(0, 800), table.slice(800)], tmp_path / "mixed")
    options = PreprocessOptions(columns=SHOP, vocabulary="train_only", split_by="time", randomize=order)
    report = preprocess(raw, tmp_path / "out", options)
    assert report.rows_by_day == ROWS
    rows = table.to_pylist()
    train = [row for row in rows if row["time"].day < 3]
    check(report.folder, [train, [row for row in rows if row["time"].day == 3]], options)


@pytest.mark.parametrize("order", ["total", "day", "none"])
def test_neither_threads_nor_memory_change_a_byte(
    tables: list[pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Randomize
) -> None:
    monkeypatch.setattr(source, "CHUNK_ROWS", 256)
    table = pa.concat_tables(tables)
    raw = write_parquet([table.take(np.random.default_rng(0).permutation(len(table)))], tmp_path / "mixed")
    common: dict[str, Any] = {
        "columns": SHOP,
        "split_by": "time",
        "subsample_rate": 0.3,
        "randomize": order,
        "vocabulary": "train_only",
        "min_count": 2,
    }
    found = []
    for number, run in enumerate(({"workers": 1}, {"workers": 7}, {"workers": 3, "memory_bytes": 16 << 20})):
        preprocess(raw, tmp_path / str(number), PreprocessOptions(**common, **run))
        found.append(contents(tmp_path / str(number)))
    assert found[0] == found[1] == found[2]


def test_a_bad_row_is_named_or_left_out(tables: list[pa.Table], tmp_path: Path) -> None:
    table = tables[0].set_column(0, "clicked", pa.array([2 if row == 512 else row % 2 for row in range(ROWS[0])]))
    raw = write_parquet([table, *tables[1:]], tmp_path / "shop")
    with pytest.raises(DataFormatError, match=r"part-000.parquet: row 513: column clicked is 2; expected .*skip:0.001"):
        preprocess(raw, tmp_path / "out", PreprocessOptions(columns=SHOP))
    assert not (tmp_path / "out").exists()
    options = PreprocessOptions(columns=SHOP, bad_rows=0.001, randomize="none")
    report = preprocess(raw, tmp_path / "out", options)
    days = [[row for number, row in enumerate(table.to_pylist()) if number != 512]]
    check(report.folder, [*days, *(other.to_pylist() for other in tables[1:])], options)
    assert report.folder.report["rejected"] == {"label": 1}
    rejected = (tmp_path / "out" / "rejected.tsv").read_text().split("\t")
    assert rejected == [str(raw / "part-000.parquet"), "513", "label", "clicked", "2\n"]
    with pytest.raises(DataFormatError, match=r"but bad_rows allows only 0\.010%"):
        preprocess(raw, tmp_path / "other", PreprocessOptions(columns=SHOP, bad_rows=0.0001))


def test_long_lists_are_cut_and_counted(shop: Path, tables: list[pa.Table], tmp_path: Path) -> None:
    tags = SparseColumn(name="tags", kind="string", at_most=2)
    columns = Columns(SHOP.label, SHOP.dense[:1], (tags,))
    with pytest.raises(DataFormatError, match="tags"):
        preprocess(shop, tmp_path / "out", PreprocessOptions(columns=columns))
    options = PreprocessOptions(columns=columns, truncate_lists=True, randomize="none")
    report = preprocess(shop, tmp_path / "out", options)
    days = [table.to_pylist() for table in tables]
    longer = 0
    for row in (row for day in days for row in day):
        longer += row["tags"] is not None and len(row["tags"]) > 2
        row["tags"] = row["tags"] and row["tags"][:2]
    check(report.folder, days, options)
    assert report.folder.report["cut_lists"] == longer
    assert f"{longer} lists were longer" in str(report)


def test_another_log_gets_the_ids_and_the_mean_of_a_dataset(shop: Path, tables: list[pa.Table], tmp_path: Path) -> None:
    known = preprocess(shop, tmp_path / "known", PreprocessOptions(columns=SHOP, vocabulary="train_only")).folder
    table = shop_table(300, seed=9, day=4)
    raw = write_csv(table.drop_columns(["tags", "viewed"]), tmp_path / "day.csv")
    with pytest.raises(DataFormatError, match="has no columns tags, viewed"):
        preprocess(raw, tmp_path / "new", PreprocessOptions(vocabulary_from=known.path, days=1))
    raw = write_parquet([table], tmp_path / "day")
    options = PreprocessOptions(vocabulary_from=known.path, days=1)
    new = preprocess(raw, tmp_path / "new", options).folder
    assert (new.fingerprint, new.columns, list(new.splits)) == (known.fingerprint, known.columns, ["val", "test"])
    rows = table.to_pylist()
    found = split_rows(new, "test") + split_rows(new, "val")
    assert found == records_of(plain(known.columns), values_of(known), rows)


def test_columns_must_be_those_of_the_vocabulary(shop: Path, tmp_path: Path) -> None:
    preprocess(shop, tmp_path / "known", PreprocessOptions(columns=SHOP))
    slot = SparseColumn(name="slot", kind="integer", ids="modulo", rows=8)
    other = Columns(SHOP.label, SHOP.dense, (*SHOP.sparse[:-1], slot))
    options = PreprocessOptions(columns=other, vocabulary_from=tmp_path / "known")
    with pytest.raises(ConfigurationError, match=r"column slot has rows=8 in the logs, but 7 in .*known\."):
        preprocess(shop, tmp_path / "new", options)


def test_one_file_is_cut_into_days_of_equal_length(tables: list[pa.Table], tmp_path: Path) -> None:
    columns = Columns(SHOP.label, SHOP.dense, SHOP.sparse[:2])
    table = tables[1].drop_columns(["tags", "viewed"])
    table = table.set_column(0, "clicked", table["clicked"].cast(pa.int8()))
    raw = write_csv(table, tmp_path / "log.csv.gz")
    options = PreprocessOptions(columns=columns, randomize="none")
    report = preprocess(raw, tmp_path / "out", options)
    assert report.rows_by_day == (129, 129, 129, 129, 129, 128, 128)
    rows = table.to_pylist()
    check(report.folder, [rows[: -report.rows_by_day[-1]], rows[-report.rows_by_day[-1] :]], options)


def test_a_chunk_of_bad_rows_is_left_out(
    tables: list[pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "CHUNK_ROWS", 256)
    label = pa.array([None if 256 <= row < 512 else row % 2 for row in range(ROWS[1])])
    bad = tables[1].set_column(0, "clicked", label)
    raw = write_parquet([tables[0], bad, tables[2]], tmp_path / "shop")
    options = PreprocessOptions(columns=SHOP, bad_rows=0.5, randomize="none")
    report = preprocess(raw, tmp_path / "out", options)
    kept = [row for number, row in enumerate(bad.to_pylist()) if not 256 <= number < 512]
    check(report.folder, [tables[0].to_pylist(), kept, tables[2].to_pylist()], options)


@pytest.mark.parametrize("day", [0, 1, 2])
def test_a_day_without_a_row_is_an_error(tables: list[pa.Table], tmp_path: Path, day: int) -> None:
    parts = list(tables)
    parts[day] = parts[day].set_column(0, "clicked", pa.nulls(ROWS[day], pa.bool_()))
    raw = write_parquet(parts, tmp_path / "shop")
    with pytest.raises(DataFormatError, match=rf"day {day} \(part-00{day}.parquet\) has no usable rows"):
        preprocess(raw, tmp_path / "out", PreprocessOptions(columns=SHOP, bad_rows=1.0))
    assert not (tmp_path / "out").exists()


def test_columns_have_to_be_stated(tables: list[pa.Table], tmp_path: Path) -> None:
    raw = write_parquet(tables, tmp_path / "shop")
    with pytest.raises(DataFormatError, match=r"no columns label.*State those of your log with --columns\."):
        preprocess(raw, tmp_path / "out")


def test_one_day_is_too_few(tables: list[pa.Table], tmp_path: Path) -> None:
    raw = write_parquet(tables[:1], tmp_path / "shop")
    with pytest.raises(DataFormatError, match=r"has only 1 day by files .*at least 2 are needed"):
        preprocess(raw, tmp_path / "out", PreprocessOptions(columns=SHOP, split_by="files"))


def test_layout_of_raw_logs_is_refused(tables: list[pa.Table], tmp_path: Path) -> None:
    raw = write_parquet(tables, tmp_path / "shop")
    with pytest.raises(ConfigurationError, match="layout=kaggle is for raw logs"):
        preprocess(raw, tmp_path / "out", PreprocessOptions(columns=SHOP, layout="kaggle"))
    with pytest.raises(ConfigurationError, match="split_by=time is for files with named columns"):
        PreprocessOptions(columns=SHOP, layout="kaggle", split_by="time")


def test_a_raw_log_is_refused_by_the_column_that_it_cannot_have(tmp_path: Path) -> None:
    (tmp_path / "day_0").write_text("0\t1\tab\n")
    with pytest.raises(
        ConfigurationError, match=f"is a raw log, which cannot have the column {SHOP.not_raw_text}: raw"
    ):
        preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(columns=SHOP))


def test_criteo_may_come_as_a_table(tmp_path: Path) -> None:
    """Files whose names state their format are read by column names, even if the columns could be a raw log's."""
    rng = np.random.default_rng(0)
    columns = Columns.criteo()
    table = pa.table(
        {columns.label: pa.array(rng.integers(0, 2, 40))}
        | {column.name: pa.array(rng.integers(0, 9, 40)) for column in columns.dense}
        | {column.name: pa.array([f"{value:08x}" for value in rng.integers(0, 9, 40)]) for column in columns.sparse}
    )
    options = PreprocessOptions(columns=columns, split_by="rows", days=2, randomize="none")
    folder = preprocess(write_csv(table, tmp_path / "log.csv"), tmp_path / "out", options).folder
    rows = table.to_pylist()
    check(folder, [rows[:20], rows[20:]], options)
    lines = [b"\t".join(str(value).encode() for value in row.values()) for row in rows]
    raw = write_days(tmp_path / "raw", [lines[:20], lines[20:]])
    text = preprocess(raw, tmp_path / "text", PreprocessOptions(randomize="none")).folder
    assert text.fingerprint == folder.fingerprint
    assert split_rows(text, "train") == split_rows(folder, "train")


@pytest.mark.parametrize("rule", ["reference", "train_only"])
def test_columns_without_a_row_for_new_values_are_named(tmp_path: Path, rule: VocabularyRule) -> None:
    """City is missing in one row, shop and code never; an id that is a hash needs no such row."""
    sparse = (
        SparseColumn(name="city"),
        SparseColumn(name="shop"),
        SparseColumn(name="code", kind="integer"),
        SparseColumn(name="user", ids="hash", rows=5),
    )
    rows = ["click,age,city,shop,code,user", *(f"{n % 2},{n},{'' if n == 3 else 'x'},s{n},{n},u{n}" for n in range(12))]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    options = PreprocessOptions(
        columns=Columns("click", (DenseColumn(name="age"),), sparse), split_by="rows", days=3, vocabulary=rule
    )
    report = preprocess(tmp_path / "log.csv", tmp_path / "out", options)
    warnings = [line for line in str(report).splitlines() if "unseen values" in line]
    assert [line.strip() for line in warnings] == (
        []
        if rule == "train_only"
        else [
            "warning: no row for missing or unseen values in shop, code: they would be scored as the column's first "
            "value. --vocabulary train_only adds such a row."
        ]
    )


@pytest.mark.parametrize("first", [1_700_000_000, -1_700_000_011, 16_777_205, 16_777_206])
def test_standardized_integers_that_floats_round_are_named(tmp_path: Path, first: int) -> None:
    """Twelve consecutive values, of size up to 1,700,000,011, to 16,777,216, which float32 holds, or to one more."""
    rows = ["click,time,age,city", *(f"{n % 2},{'' if n == 12 else first + n},{first + n},x" for n in range(13))]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    dense = (DenseColumn(name="time", transform="standardize"), DenseColumn(name="age", transform="none"))
    options = PreprocessOptions(
        columns=Columns("click", dense, (SparseColumn(name="city"),)), split_by="rows", days=2, vocabulary="train_only"
    )
    report = preprocess(tmp_path / "log.csv", tmp_path / "out", options)
    size = max(abs(first), abs(first + 11))
    warnings = [line.strip() for line in str(report).splitlines() if "32-bit floats" in line]
    assert [line.partition(", but ")[0] for line in warnings] == (
        [f"warning: time: values reach a magnitude of {size:,}"] if size > 16_777_216 else []
    )
