"""Files that do not contain a table with the columns are refused in one line that names the file and the reason."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.sources.readers import csv_file
from dlrm_pl.data.sources.source import holds_table, open_source
from dlrm_pl.errors import ConfigurationError, DataFormatError

COLUMNS = Columns("click", (DenseColumn(name="age"),), (SparseColumn(name="site"),))
TABLE = pa.table({"click": [0, 1], "age": [1, 2], "site": ["a", "b"]})
TEXT = b"click,age,site\n0,1,a\n1,2,b\n"
LONG = b"click,age,site\n" + b"".join(b"%d,%d,s%d\n" % (row % 2, row, row) for row in range(50_000))


def written(write: Callable[[pa.Table, pa.BufferOutputStream], object], table: pa.Table = TABLE) -> bytes:
    sink = pa.BufferOutputStream()
    write(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def stream(table: pa.Table, sink: pa.BufferOutputStream) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


PARQUET = written(pa.parquet.write_table)
FEATHER = written(pa.feather.write_feather)
STREAM = written(stream)
TWICE = pa.Table.from_arrays(
    [TABLE["click"], TABLE["age"], TABLE["age"], TABLE["site"]], ["click", "age", "age", "site"]
)


def read(path: Path) -> tuple[int, list[str]]:
    """Return the number of good rows, and the faults of the others."""
    source = open_source(path, COLUMNS)
    chunks = list(source.chunks())
    faults = [source.fault(chunk.file, bad).removeprefix(f"{path.parent}/") for chunk in chunks for bad in chunk.bad]
    return sum(chunk.rows.num_rows for chunk in chunks), faults


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "a.csv: is empty"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "a.csv.gz: is empty after unpacking"),
        ("a.csv", b"0,1,a\n1,2,b\n", "has no header: its first line begins with 0, 1, a, which are values"),
        ("a.csv", b"x,y,z\nd,e,f\n", "has no columns click, age, site. There are x, y, z. Does it have a header"),
        ("a.csv", TEXT.replace(b"age", b"Age"), r"has no column age. Did you mean Age\? There are click, Age, site"),
        (
            "a.csv",
            TEXT.replace(b"age", b"agee").replace(b"site", b"sites"),
            "agee instead of age, sites instead of site",
        ),
        ("a.csv", TEXT.replace(b"age", b" age"), r"has no column age. Did you mean ' age'\?"),
        ("a.csv", b"click,site,age,site\n0,1,a,b\n", "has 2 columns named site. Rename all but one"),
        ("a.parquet", written(pa.parquet.write_table, TWICE), "has 2 columns named age"),
        ("a.parquet", TEXT, "is not a valid Parquet file; it begins with b'click,ag'"),
        ("a.parquet", PARQUET[:-20], "is truncated or corrupt .Parquet magic bytes not found"),
        ("a.parquet", PARQUET[:40] + bytes(40) + PARQUET[80:], "is truncated or corrupt"),
        (
            "a.parquet.gz",
            gzip.compress(PARQUET, mtime=0),
            "is a compressed Parquet file, in which single parts cannot",
        ),
        ("a.feather", FEATHER[:-50], "is truncated or corrupt"),
        ("a.arrows", STREAM[:-100], "is truncated or corrupt"),
        ("a.csv.gz", gzip.compress(LONG, mtime=0)[:50_000], "is truncated or corrupt .Truncated compressed stream"),
        ("a.csv.gz", TEXT, "is not compressed by gzip, as its name says; it begins with the bytes 63 6c 69 63"),
        ("a.csv.xz", lzma.compress(TEXT), "is an xz file. Unpack it, or compress it so that its name ends in one of"),
        ("a.csv.Z", TEXT, r"is compressed in an unknown way \(.z\)"),
        ("a.csv", b"PK\x03\x04", "is a zip archive"),
        ("a.tar.gz", gzip.compress(TEXT, mtime=0), "is a tar archive"),
        ("a.sas7bdat", TEXT, "has an unknown format. Give files whose names end in .csv"),
        ("a.json", b'{"click": 1}', "looks like JSON: write it as CSV, Parquet or Arrow"),
        ("a.csv", TEXT.decode().encode("utf-16"), "looks like text in UTF-16: convert it"),
        ("a.csv", "click,age,sité\n".encode("latin1"), "its header is not text in UTF-8: .*Convert the file"),
        (
            "a.csv",
            TEXT + b'1,3,"a\n0,1,b\n',
            "its last row, 3, has an unclosed quote: column site is 'a.n0,1,b",
        ),
        ("a.csv", TEXT.replace(b"\n", b",x\n") + b'1,3,a,"b\n0,1,b,c\n', "has an unclosed quote: column x is"),
        ("a.csv", TEXT + b"1,2,\0\n", "looks like binary data"),
        ("a.csv", b"<html>", "looks like a web page or XML"),
    ],
)
def test_wrong_files_are_refused(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataFormatError, match=message) as error:
        read(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"\xef\xbb\xbf" + TEXT),
        ("a.csv", TEXT.replace(b"\n", b"\r\n")),
        ("a.csv", b"\n" + TEXT + b"\n\n"),
        ("a.csv", TEXT.replace(b",", b";")),
        ("a.txt", TEXT.replace(b",", b"\t")),
        ("part-00000", TEXT),
        ("a.csv", gzip.compress(TEXT, mtime=0)),
        ("a.csv", PARQUET),
        ("a.csv", TEXT.replace(b"0,1,a", b' 0 , 1 ,"a\nb"')),
        ("a.csv", TEXT.replace(b"a\n", b'5" screen\n')),
    ],
)
def test_files_of_other_programs_are_read(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path / name) == (2, [])


@pytest.mark.parametrize("data", [b"click,age,site", b"click,age,site\n"])
def test_a_header_alone_has_no_rows(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    assert read(tmp_path / "a.csv") == (0, [])


def test_a_quote_that_is_not_closed_does_not_take_the_whole_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 1 << 14)
    (tmp_path / "a.csv").write_bytes(TEXT + b'1,3,"a\n' + LONG)
    with pytest.raises(DataFormatError, match=r"has a row of more than 16,384 bytes\. Is a quote not closed\?"):
        read(tmp_path / "a.csv")


def test_a_column_that_changes_its_type_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT + b"1,x,a\n0,2.5,b\n0,3.0,c\n1,99999999999,c\n2,1,a\n,1,a\n1,1\n1,1,1,1\n0,,\n1,4,\xfc\n")
    assert read(path) == (
        4,
        [
            "a.csv, row 3: column age is 'x'; expected an integer",
            "a.csv, row 4: column age is '2.5'; expected an integer",
            "a.csv, row 6: column age is '99999999999'; expected an integer from -2147483648 to 2147483647",
            "a.csv, row 7: column click is '2'; expected 0 or 1",
            "a.csv, row 8: column click is null; expected 0 or 1",
            "a.csv, row 9: the row has 2 fields: '1,1'; expected 3, as in the header",
            "a.csv, row 10: the row has 4 fields: '1,1,1,1'; expected 3, as in the header",
            r"a.csv, row 12: column site is '\xfc'; expected text in UTF-8",
        ],
    )


def test_a_type_that_differs_between_files_is_refused(tmp_path: Path) -> None:
    pa.parquet.write_table(TABLE, tmp_path / "1.parquet")
    pa.parquet.write_table(TABLE.set_column(1, "age", pa.array(["x", "y"])), tmp_path / "2.parquet")
    with pytest.raises(DataFormatError, match=r"2\.parquet: column age: it holds string, but integers are needed"):
        open_source(tmp_path, COLUMNS)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "is an empty folder"),
        (["a.csv", "b.parquet"], "contains files of different formats: a.csv is CSV, b.parquet is Parquet"),
        (["a.csv", "folder/b.csv"], "contains a folder, folder"),
        (["a.csv", "notes.md"], "notes.md: has an unknown format"),
    ],
)
def test_mixed_folders_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PARQUET if name.endswith(".parquet") else TEXT)
    with pytest.raises(DataFormatError, match=message):
        open_source(tmp_path, COLUMNS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"nothing\.csv: no such file or folder"):
        open_source(tmp_path / "nothing.csv", COLUMNS)


def test_csv_has_no_lists(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(TEXT)
    lists = Columns("click", COLUMNS.dense, (SparseColumn(name="site", at_most=2),))
    with pytest.raises(DataFormatError, match="column site: it has lists, which a CSV file cannot hold"):
        open_source(tmp_path / "a.csv", lists)


def test_labels_may_be_missing_where_they_are_optional(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"age,site\n1,a\n")
    source = open_source(tmp_path / "a.csv", COLUMNS, labels="optional")
    assert [chunk.rows.label for chunk in source.chunks()] == [None]
    (tmp_path / "a.csv").write_bytes(b"age,site,click\n1,a,\n2,b,1")
    source = open_source(tmp_path / "a.csv", COLUMNS, labels="optional")
    assert [chunk.rows.label.tolist() for chunk in source.chunks() if chunk.rows.label is not None] == [[0, 1]]


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r'Install it: pip install "dlrm-pl\[frames\]"'):
        open_source(tmp_path, COLUMNS)


def test_raw_logs_are_told_from_tables(tmp_path: Path) -> None:
    criteo = Columns.criteo()
    header = "\t".join(criteo.names).encode()
    for name, data in {"day_0": b"0\t1\n", "log.txt": header + b"\n", "log.csv": b"0,1\n", "log.parquet": b""}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "log.txt.gz").write_bytes(gzip.compress(header))
    tables = {
        name: holds_table(tmp_path / name, criteo) for name in ("day", "day_0", "log.txt", "log.txt.gz", "log.csv")
    }
    assert tables == {"day": False, "day_0": False, "log.txt": True, "log.txt.gz": True, "log.csv": True}
    assert holds_table(tmp_path, criteo)
    assert holds_table(tmp_path / "log.parquet", criteo)
    assert holds_table(tmp_path / "day", COLUMNS)


@pytest.mark.parametrize("name", ["day_0", "train.txt", "train.txt.gz"])
def test_a_raw_log_is_refused_by_the_column_that_it_cannot_have(name: str, tmp_path: Path) -> None:
    text = b"0\t1\tab\n1\t2\tcd\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with pytest.raises(
        DataFormatError, match=r"has no header.* If it is a raw log, it cannot have the column site: raw"
    ):
        open_source(tmp_path / name, COLUMNS)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_empty_value_at_the_end_is_missing(end: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'age,click,site\n1,"0",' + end)
    (chunk,) = open_source(tmp_path / "a.csv", COLUMNS).chunks()
    assert chunk.rows.sparse[0].missing is not None


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_file_may_end_anywhere_in_a_block(end: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 64)
    for rows in range(1, 80):
        (tmp_path / "a.csv").write_bytes(b"click,age,site\n" + b"\n".join([b"1,1,abc"] * rows + [b"1,2,d"]) + end)
        assert read(tmp_path / "a.csv") == (rows + 1, [])
