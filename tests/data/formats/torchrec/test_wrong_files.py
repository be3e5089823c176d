"""Files of days that are damaged, hostile, or inconsistent are named, and nothing is unpickled."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.mapped_file import MappedFile
from dlrm_pl.data.formats.torchrec.npz_members import member_arrays
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.errors import ConfigurationError, DataFormatError, DatasetError
from tests.support.examples import examples
from tests.support.logs.days import BAGS, SIZES, write_days

NPZ = "day_1_sparse_multi_hot.npz"


class Pickled:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def save_objects(folder: Path) -> None:
    np.save(folder / "day_1_dense.npy", np.array([[Pickled()]], dtype=object), allow_pickle=True)


def members(folder: Path) -> dict[str, Any]:
    with np.load(folder / NPZ) as archive:
        return {name: archive[name] for name in archive.files}


def save(folder: Path, arrays: dict[str, Any]) -> None:
    np.savez(folder / NPZ, **arrays)


def cut(name: str, share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def longer(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"12") and None


def replaced(name: str, values: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, values(np.load(folder / name)))


def encrypt(folder: Path) -> None:
    data = bytearray((folder / NPZ).read_bytes())
    data[6] |= 1
    place = data.index(b"PK\x01\x02")
    data[place + 8] |= 1
    (folder / NPZ).write_bytes(data)


def with_objects(folder: Path) -> None:
    arrays = members(folder)
    arrays["2"] = np.array([[Pickled()] * 2] * 41, dtype=object)
    save(folder, arrays)


def twice(folder: Path) -> None:
    with zipfile.ZipFile(folder / NPZ, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("0.npy", b"")


def other_place(folder: Path) -> None:
    data = bytearray((folder / NPZ).read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 42 : place + 46] = struct.pack("<I", 3)
    (folder / NPZ).write_bytes(data)


def beyond_the_end(folder: Path) -> None:
    data = bytearray((folder / NPZ).read_bytes())
    place = data.rindex(b"PK\x01\x02")
    for field in (20, 24):
        data[place + field : place + field + 4] = struct.pack("<I", 1 << 30)
    (folder / NPZ).write_bytes(data)


def header(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        padded = text.ljust(117) + "\n"
        (folder / "day_1_labels.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + padded.encode())

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: (folder / "day_1_labels.npy").unlink(),
            "day_1_labels.npy: is missing. A day consists of dense values",
        ),
        (lambda folder: (folder / "day_1_labels.npy").write_bytes(b""), "day_1_labels.npy: is empty"),
        (
            lambda folder: (folder / "day_1_dense.npy").write_bytes(b"\0" * 500),
            "day_1_dense.npy: is not an array in NumPy's",
        ),
        (cut("day_1_dense.npy", 0.2), "day_1_dense.npy: is not an array of numbers in NumPy's format"),
        (
            cut("day_1_dense.npy", 0.9),
            r"day_1_dense.npy: has 430 bytes of values, but shape \[41, 3\] of float32 needs 492",
        ),
        (
            longer("day_1_dense.npy"),
            r"day_1_dense.npy: has 494 bytes of values, but shape \[41, 3\] of float32 needs 492",
        ),
        (save_objects, "day_1_dense.npy: holds Python objects, which could run code when they are loaded"),
        (replaced("day_1_dense.npy", np.asfortranarray), r"day_1_dense.npy: is stored column by column"),
        (replaced("day_1_dense.npy", np.float64), "day_1_dense.npy: holds float64, not float32"),
        (replaced("day_1_dense.npy", lambda x: x.astype(">f4")), "day_1_dense.npy: holds >f4, not float32"),
        (replaced("day_1_dense.npy", np.ravel), r"day_1_dense.npy: has the shape \[123\], not rows and columns"),
        (replaced("day_1_dense.npy", lambda x: x[:, :2]), "day_1_dense.npy: has 2 dense values, but day 0 has 3"),
        (replaced("day_1_dense.npy", lambda x: x[:0]), r"day_1_dense.npy: has no values: its shape is \[0, 3\]"),
        (replaced("day_1_labels.npy", np.int64), "day_1_labels.npy: holds int64, not int32"),
        (replaced("day_1_labels.npy", lambda x: np.tile(x, 2)), "day_1_labels.npy: has 2 labels in each row, not 1"),
        (
            replaced("day_1_labels.npy", lambda x: x[:-1]),
            "day_1_labels.npy: has 40 rows, but day_1_dense.npy has 41. The files are of different days",
        ),
        (
            header("{'descr': '<i4', 'fortran_order': False, 'shape': (-1, 1), }"),
            "is not an array of numbers in NumPy's format",
        ),
        (header("{'descr': '<i4', 'fortran_order': False, 'shape': (999999999999, 999999999999), }"), "of int32 needs"),
        (
            header("__import__('os').mkdir('unpickled')"),
            "day_1_labels.npy: is not an array of numbers in NumPy's format: its header is b\"__import__",
        ),
        (lambda folder: np.savez_compressed(folder / NPZ, **members(folder)), "npz: '0.npy' is compressed"),
        (cut(NPZ, 0.95), f"{NPZ}: is not a complete zip archive"),
        (encrypt, f"{NPZ}: '0.npy' is encrypted"),
        (with_objects, f"{NPZ}: 2.npy: holds Python objects"),
        (twice, f"{NPZ}: has two members named '0.npy'"),
        (other_place, f"{NPZ}: '0.npy' is not where the archive's directory says"),
        (beyond_the_end, rf"{NPZ}: '3.npy' would end at byte 1,\d+,\d+,\d+, but the file has"),
        (
            lambda folder: save(folder, {f"{name}x": bags for name, bags in members(folder).items()}),
            f"{NPZ}: has 4 members, but none is named 0.npy; there is '0x.npy'",
        ),
        (
            lambda folder: save(folder, members(folder) | {"0": np.zeros((40, 3), np.int32)}),
            f"{NPZ}: 0.npy: has 40 rows, but day_1_dense.npy has 41",
        ),
        (
            lambda folder: save(folder, members(folder) | {"0": np.zeros((41, 3), np.int64)}),
            f"{NPZ}: 0.npy: holds int64, not int32",
        ),
        (
            lambda folder: save(folder, members(folder) | {"0": np.zeros((41, 3), np.int32, order="F")}),
            f"{NPZ}: 0.npy: is stored column by column",
        ),
        (
            lambda folder: save(folder, members(folder) | {"0": np.zeros((41, 4), np.int32)}),
            f"{NPZ}: has 4 ids in each bag of table 0, but day 0 has 3",
        ),
        (
            lambda folder: save(folder, members(folder) | {"0": np.zeros((41, 0), np.int32)}),
            f"{NPZ}: 0.npy: its bags have no elements",
        ),
        (
            lambda folder: save(folder, members(folder) | {"4": np.zeros((41, 1), np.int32)}),
            f"{NPZ}: has 5 tables, but day 0 has 4",
        ),
        (lambda folder: save(folder, {}), f"{NPZ}: has 0 members"),
        (
            lambda folder: [path.unlink() for path in folder.glob("day_1_*")],
            "has files of day 2, but none of day 1. Days are numbered from 0 without gaps",
        ),
    ],
)
def test_a_wrong_file_is_named(
    tmp_path: Path, change: Callable[[Path], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_days(tmp_path / "days", bags=BAGS)
    change(tmp_path / "days")
    with pytest.raises(DataFormatError, match=message):
        DatasetFolder.open(tmp_path / "days", stated=StatedTables(SIZES, BAGS))
    assert [path.name for path in tmp_path.iterdir()] == ["days"]


def test_single_ids_of_another_type_are_refused(tmp_path: Path) -> None:
    write_days(tmp_path)
    path = tmp_path / "day_0_sparse.npy"
    np.save(path, np.load(path).astype(np.float32))
    with pytest.raises(DataFormatError, match=r"day_0_sparse.npy: holds float32, not int32 or int64"):
        DatasetFolder.open(tmp_path, stated=StatedTables(SIZES))


@settings(deadline=None, max_examples=examples(150))
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_read(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever bytes are changed, only our own error is raised, and nothing is read outside the file."""
    folder = tmp_path_factory.mktemp("damaged")
    write_days(folder, [5, 5], bags=(2, 1), sizes=(9, 9))
    path = folder / "day_0_sparse_multi_hot.npz"
    contents = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(contents) - 1))
        contents[place] = data.draw(st.integers(0, 255))
    path.write_bytes(contents[: data.draw(st.integers(0, len(contents)))] if data.draw(st.booleans()) else contents)
    try:
        mapped = MappedFile(path)
        arrays = member_arrays(mapped)
    except DataFormatError:
        return
    for array in arrays:
        start = array.ctypes.data - mapped.data.ctypes.data
        assert 0 <= start <= start + array.nbytes <= len(contents)


def test_an_archive_beyond_4_gib_is_read(tmp_path: Path) -> None:
    """Its sizes are in the zip64 fields; its first member is a hole in the file."""
    path, rows = tmp_path / "0.npz", (1 << 30) + 5
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("0.npy")
        info.file_size = 4 * rows + 128
        with archive.open(info, "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<i4", "fortran_order": False, "shape": (rows, 1)})
    # The rest of the member is a hole; the second member and the directory are written by hand behind it.
    start = path.read_bytes().index(b"\x93NUMPY")
    second = np.arange(6, dtype=np.int32).reshape(3, 2)
    import io

    inner = io.BytesIO()
    np.save(inner, second)
    body = inner.getvalue()
    size = 128 + 4 * rows
    with path.open("r+b") as handle:
        handle.truncate(start + 128)
        handle.truncate(start + size)
        handle.seek(start + size)
        place = handle.tell()
        handle.write(
            struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 0, 0, 33, 0, len(body), len(body), 5, 0) + b"1.npy" + body
        )
        directory = handle.tell()
        extra = struct.pack("<HHQQ", 1, 16, size, size)
        far = struct.pack("<HHQ", 1, 8, place)
        most = (1 << 32) - 1
        form = "<4sHHHHHHIIIHHHHHII"
        handle.write(
            struct.pack(form, b"PK\1\2", 45, 45, 0, 0, 0, 33, 0, most, most, 5, len(extra), 0, 0, 0, 0, 0)
            + b"0.npy"
            + extra
        )
        handle.write(
            struct.pack(form, b"PK\1\2", 45, 45, 0, 0, 0, 33, 0, len(body), len(body), 5, len(far), 0, 0, 0, 0, most)
            + b"1.npy"
            + far
        )
        end = handle.tell()
        handle.write(struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, end - directory, directory))
        handle.write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        handle.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2, 2, most, most, 0))
    first, other = member_arrays(MappedFile(path))
    assert (first.shape, first[-1, 0]) == ((rows, 1), 0)
    np.testing.assert_array_equal(other, second)


def test_rows_of_tables_are_not_guessed(tmp_path: Path) -> None:
    write_days(tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"do not state how many rows the 4 tables have. Give data.table_sizes"
    ):
        DatasetFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (StatedTables((7, 50)), "data.table_sizes has 2 sizes, but .*npz has 4 tables"),
        (StatedTables(SIZES, (3, 1)), "data.multi_hot_sizes has 2 sizes, but .*npz has 4 tables"),
    ],
)
def test_other_numbers_of_tables_are_refused(tmp_path: Path, stated: StatedTables, message: str) -> None:
    write_days(tmp_path, bags=BAGS)
    with pytest.raises(ConfigurationError, match=message):
        DatasetFolder.open(tmp_path, stated=stated)


@pytest.mark.parametrize(("table", "size"), [(0, 4), (0, 2), (3, 19)])
def test_bags_that_are_longer_or_shorter_than_stated_are_refused(tmp_path: Path, table: int, size: int) -> None:
    write_days(tmp_path, bags=BAGS)
    sizes = [*BAGS[:table], size, *BAGS[table + 1 :]]
    message = f"day_0_sparse_multi_hot.npz: the bags of table {table} have {BAGS[table]} ids, but {size} are stated"
    with pytest.raises(DataFormatError, match=message):
        DatasetFolder.open(tmp_path, stated=StatedTables(SIZES, tuple(sizes), draws=True))


def test_bags_where_a_model_has_single_ids_are_refused(tmp_path: Path) -> None:
    write_days(tmp_path, bags=BAGS)
    with pytest.raises(DataFormatError, match="the bags of table 0 have 3 ids, but 1 is stated"):
        DatasetFolder.open(tmp_path, stated=StatedTables(SIZES, (1,) * 4))


def test_single_ids_where_a_model_has_bags_are_refused(tmp_path: Path) -> None:
    write_days(tmp_path)
    with pytest.raises(
        DatasetError, match="has single ids, but bags of 3, 1, 2, 20 are expected, and there are no lookup tables"
    ):
        DatasetFolder.open(tmp_path, stated=StatedTables(SIZES, BAGS))
    assert not (tmp_path / "multi_hot_tables").exists()


def test_which_of_both_to_read_must_be_said(tmp_path: Path) -> None:
    write_days(tmp_path)
    write_days(tmp_path, bags=BAGS)
    with pytest.raises(ConfigurationError, match=r"has both day_0_sparse.npy and day_0_sparse_multi_hot.npz"):
        DatasetFolder.open(tmp_path, stated=StatedTables(SIZES))
    for sizes in (BAGS, (1,) * 4):
        folder = DatasetFolder.open(tmp_path, stated=StatedTables(SIZES, sizes))
        assert tuple(column.bag for column in folder.columns.sparse) == sizes


def test_settings_of_days_are_refused_for_other_folders(quickstart_like: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"data.table_sizes is for days in TorchRec's format"):
        DatasetFolder.open(quickstart_like, stated=StatedTables(SIZES, draws=True))
    with pytest.raises(ConfigurationError, match=r"data.multi_hot_sizes draws bags of single ids"):
        DatasetFolder.open(quickstart_like, stated=StatedTables(None, (2,) * 5, draws=True))


@pytest.fixture
def quickstart_like(tmp_path: Path) -> Path:
    from tests.support.logs.any_columns import MIXED, write_dataset

    return write_dataset(tmp_path / "own", MIXED).path


def test_objects_would_have_been_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hostile object of these tests really creates a file when it is unpickled."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Pickled()))
    assert (tmp_path / "unpickled").is_dir()
    shutil.rmtree(tmp_path / "unpickled")
