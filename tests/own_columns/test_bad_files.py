"""Files that contradict their columns: one line with place and value, exit status 2, and nothing half-written."""

from __future__ import annotations

import gzip
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from dlrm_pl.data.formats.binary_format import count_records, open_records, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from tests.support.commands import expect_error, run
from tests.support.logs.click_tables import write_csv, write_parquet

COLUMNS: dict[str, Any] = {
    "label": "click",
    "dense": [{"name": "age"}, {"name": "price", "type": "float"}],
    "sparse": [
        {"name": "city", "kind": "string"},
        {"name": "slot", "kind": "integer", "ids": "modulo", "rows": 5},
        {"name": "shop", "kind": "integer"},
    ],
}
LISTS = COLUMNS | {"sparse": [*COLUMNS["sparse"], {"name": "tags", "at_most": 2}, {"name": "pair", "bag": 2}]}
ROWS = 40
HEADER = "click,age,price,city,slot,shop"


def line(row: int, **changed: str) -> str:
    values = {
        "click": str(row % 2),
        "age": str(row),
        "price": f"{row}.5",
        "city": f"city {row % 3}",
        "slot": str(row % 7),
        "shop": str(row % 4),
    }
    return ",".join((values | changed).values())


def text(bad_row: int = -1, **changed: str) -> str:
    """Return a CSV file with one changed row."""
    return "\n".join([HEADER, *(line(row, **(changed if row == bad_row else {})) for row in range(ROWS))]) + "\n"


def table(rows: int = ROWS, **changed: Any) -> pa.Table:
    """Return a Parquet table with lists, and with replaced columns."""
    columns: dict[str, Any] = {
        "click": [row % 2 for row in range(rows)],
        "age": list(range(rows)),
        "price": [row + 0.5 for row in range(rows)],
        "city": [f"city {row % 3}" for row in range(rows)],
        "slot": [row % 7 for row in range(rows)],
        "shop": [row % 4 for row in range(rows)],
        "tags": [["a", "b"][: row % 3] for row in range(rows)],
        "pair": [["x", "y"] for _ in range(rows)],
    }
    return pa.table(columns | changed)


def changed(values: list[Any], row: int, value: Any) -> list[Any]:
    return [*values[:row], value, *values[row + 1 :]]


def columns_file(folder: Path, stated: dict[str, Any]) -> Path:
    (folder / "columns.yaml").write_text(yaml.safe_dump(stated, allow_unicode=True))
    return folder / "columns.yaml"


def command(folder: Path, raw: Path, stated: dict[str, Any] = COLUMNS, *more: object) -> list[object]:
    options = ("--columns", columns_file(folder, stated), "--split_by", "rows", "--days", 2)
    return ["preprocess", "--raw", raw, "--output", folder / "dataset", *options, *more]


def refused(capsys: pytest.CaptureFixture[str], message: str, folder: Path, *arguments: object) -> None:
    """Check that the error is one line that matches, and that there is no output."""
    before = {path for path in folder.rglob("*") if path.is_file()} | {folder / "columns.yaml"}
    expect_error(capsys, message, *arguments)
    left = {path for path in folder.rglob("*") if path.is_file()} - before
    assert not {path for path in left if not path.name.startswith(".")}, left
    assert not (folder / "dataset").exists()


def csv_of(folder: Path, content: str | bytes, name: str = "log.csv") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"click": ""}, r"log\.csv: row 8 after the header: .*click.*null"),
        ({"click": "2"}, r"log\.csv: row 8 after the header: .*click.*2"),
        ({"price": "nan"}, r"log\.csv: row 8 after the header: .*price.*nan"),
        ({"price": "inf"}, r"log\.csv: row 8 after the header: .*price.*inf"),
        ({"price": "cheap"}, r"log\.csv: row 8 after the header: .*price.*cheap"),
        ({"age": "3.5"}, r"log\.csv: row 8 after the header: .*age.*3\.5"),
        ({"age": "2147483648"}, r"log\.csv: row 8 after the header: .*age.*2147483648"),
        ({"slot": "-3"}, r"log\.csv: row 8 after the header: .*slot.*-3"),
        ({"shop": "9223372036854775808"}, r"log\.csv: row 8 after the header: .*shop.*9223372036854775808"),
        ({"shop": "-9223372036854775808"}, r"log\.csv: row 8 after the header: .*shop.*-9223372036854775808"),
        ({"shop": "Berlin"}, r"log\.csv: row 8 after the header: .*shop.*Berlin"),
    ],
    ids=str,
)
def test_bad_value_is_told_with_its_place(
    bad: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bad row is the eighth after the header."""
    raw = csv_of(tmp_path, text(7, **bad))
    refused(capsys, message, tmp_path, *command(tmp_path, raw))
    assert run(*command(tmp_path, raw, COLUMNS, "--bad_rows", "skip:0.1")) == 0
    columns = DatasetFolder.open(tmp_path / "dataset").columns
    counts = [count_records(tmp_path / "dataset" / split_file_name(each), columns) for each in ("train", "test", "val")]
    assert sum(counts) == ROWS - 1
    rejected = (tmp_path / "dataset" / "rejected.tsv").read_text()
    assert "log.csv" in rejected
    assert next(iter(bad)) in rejected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tags": ("tags", ["a", "b", "c"])}, r"row 8.*tags.*'c'.*at most 2"),
        ({"pair": ("pair", ["x"])}, r"row 8.*pair.*'x'.*2 elements"),
        ({"pair": ("pair", ["x", "y", "z"])}, r"row 8.*pair.*'z'.*2 elements"),
        ({"price": ("price", float("nan"))}, r"row 8.*price.*nan"),
        ({"click": ("click", None)}, r"row 8.*click.*null"),
        ({"slot": ("slot", -1)}, r"row 8.*slot.*-1"),
        ({"age": ("age", 1 << 40)}, r"row 8.*age.*1099511627776"),
    ],
    ids=str,
)
def test_bad_value_of_parquet_is_told_with_its_place(
    values: dict[str, tuple[str, Any]], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = table()
    broken = table(**{name: changed(good[name].to_pylist(), 7, value) for name, (_, value) in values.items()})
    raw = write_parquet([broken], tmp_path / "clicks")
    refused(capsys, r"part-000\.parquet.*" + message, tmp_path, *command(tmp_path, raw, LISTS))


def test_long_lists_are_cut_on_request_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = table()
    broken = table(tags=changed(changed(good["tags"].to_pylist(), 7, ["a", "b", "c"]), 9, ["b"] * 5))
    raw = write_parquet([broken], tmp_path / "clicks")
    refused(capsys, "truncate_lists", tmp_path, *command(tmp_path, raw, LISTS))
    assert run(*command(tmp_path, raw, LISTS, "--truncate_lists", "--randomize", "none")) == 0
    assert "2" in next(each for each in capsys.readouterr().out.splitlines() if "truncated" in each or "cut" in each)
    columns = DatasetFolder.open(tmp_path / "dataset").columns
    train = open_records(tmp_path / "dataset" / split_file_name("train"), columns)
    assert train[7, columns.table_fields[3]].tolist() == [0, 1]
    assert train[9, columns.table_fields[3]].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("log.csv", lambda: "\n".join(text().splitlines()[1:]), r"log\.csv.*(header|names)"),
        ("log.csv", lambda: text().replace("city", "citi", 1), r"log\.csv.*city.*citi"),
        ("log.csv", lambda: text().replace("shop", "shop,city", 1), r"log\.csv.*2 columns.*city"),
        ("log.csv", lambda: "", r"log\.csv.*empty"),
        ("log.csv", lambda: HEADER + "\n", r"log\.csv.*0 rows"),
        ("log.csv.gz", lambda: gzip.compress(text().encode())[:-20], r"log\.csv\.gz.*(truncated|cut short|damaged)"),
        ("log.csv.gz", lambda: text(), r"log\.csv\.gz.*(gzip|compress)"),
        ("log.csv.xz", lambda: text(), r"log\.csv\.xz.*compress"),
        ("log.parquet", lambda: text(), r"log\.parquet.*Parquet"),
        ("log.arrow", lambda: text(), r"log\.arrow.*Arrow"),
        ("log.csv", lambda: text().encode("utf-16"), r"log\.csv"),
        ("log.csv", lambda: text(7, city='a "quote').encode() + b"\xff\xfe,,", r"log\.csv"),
    ],
)
def test_file_of_another_form_is_refused(
    name: str,
    make: Callable[[], str | bytes],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused(capsys, message, tmp_path, *command(tmp_path, csv_of(tmp_path, make(), name)))


def test_parquet_that_is_cut_short_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_parquet([table()], tmp_path / "clicks") / "part-000.parquet"
    raw.write_bytes(raw.read_bytes()[:-9])
    refused(capsys, r"part-000\.parquet", tmp_path, *command(tmp_path, raw, LISTS))


def test_two_columns_of_one_name_in_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = table()
    twice = pa.Table.from_arrays([*good.columns, good["city"]], names=[*good.column_names, "city"])
    pyarrow.parquet.write_table(twice, tmp_path / "log.parquet")
    refused(capsys, r"2 columns.*city", tmp_path, *command(tmp_path, tmp_path / "log.parquet", LISTS))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"city": [0.5] * ROWS}, r"part-001\.parquet.*city.*double.*texts or integers"),
        ({"price": ["1"] * ROWS}, r"part-001\.parquet.*price.*string"),
        ({"tags": ["a"] * ROWS}, r"part-001\.parquet.*tags.*list"),
        ({"city": [["a"]] * ROWS}, r"part-001\.parquet.*city.*list"),
        ({"shop": [0.5] * ROWS}, r"part-001\.parquet.*shop.*0\.5.*integer"),
    ],
    ids=str,
)
def test_column_that_changes_its_type_in_a_later_file(
    values: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_parquet([table(), table(**values)], tmp_path / "clicks")
    refused(capsys, message, tmp_path, *command(tmp_path, raw, LISTS))


def test_column_that_is_gone_in_a_later_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_parquet([table(), table().drop_columns(["shop"])], tmp_path / "clicks")
    refused(capsys, r"part-001\.parquet.*shop", tmp_path, *command(tmp_path, raw, LISTS))


def test_order_of_columns_in_the_files_does_not_matter(tmp_path: Path) -> None:
    """A later file may have its columns in another order, and additional columns."""
    good = table()
    other = good.select(list(reversed(good.column_names))).append_column("more", pa.array(np.arange(ROWS)))
    for name, second in (("same", good), ("other", other)):
        raw = write_parquet([good, second], tmp_path / name)
        (tmp_path / f"of_{name}").mkdir()
        assert run(*command(tmp_path / f"of_{name}", raw, LISTS)) == 0
    for path in (tmp_path / "of_same" / "dataset").glob("*.bin"):
        assert path.read_bytes() == (tmp_path / "of_other" / "dataset" / path.name).read_bytes()


def test_files_of_several_formats_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_parquet([table()], tmp_path / "clicks")
    write_csv(table().drop_columns(["tags", "pair"]), raw / "part-001.csv")
    refused(capsys, r"part-001\.csv.*|Parquet.*CSV", tmp_path, *command(tmp_path, raw, LISTS))


def test_lists_cannot_come_from_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = csv_of(tmp_path, text())
    refused(capsys, r"(list|tags)", tmp_path, *command(tmp_path, raw, LISTS))


@pytest.mark.parametrize("split_by", ["nothing", "price[:3]", "city[:0]", "tags"])
def test_days_that_the_files_do_not_have(split_by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_parquet([table()], tmp_path / "clicks")
    arguments = [*command(tmp_path, raw, LISTS), "--split_by", split_by]
    refused(capsys, re.escape(split_by.partition("[")[0]), tmp_path, *arguments)


def test_files_need_pyarrow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    raw = csv_of(tmp_path, text())
    refused(capsys, re.escape('pip install "dlrm-pl[frames]"'), tmp_path, *command(tmp_path, raw))


def test_one_day_is_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_parquet([table()], tmp_path / "clicks")
    refused(capsys, "day", tmp_path, *command(tmp_path, raw, LISTS), "--split_by", "files")


def test_damaged_dataset_of_other_columns_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_parquet([table(400)], tmp_path / "clicks")
    assert run(*command(tmp_path, raw, LISTS)) == 0
    capsys.readouterr()
    path = tmp_path / "dataset" / split_file_name("train")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    expect_error(capsys, "train", "inspect", tmp_path / "dataset", "--full")
    shutil.rmtree(tmp_path / "dataset")
