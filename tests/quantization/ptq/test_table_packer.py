"""Tables are packed once, in memory or into files, in blocks; damaged ones are refused or cleaned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from dlrm_pl.errors import NonFiniteError
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.runtime.tables import TABLE_DTYPES, TableDtype
from tests.support.examples import examples
from tests.support.segments import read_in_segments


def weights(*sizes: int, dim: int = 6) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return [torch.randn(rows, dim, generator=rng) for rows in sizes]


def test_fp32_table_is_shared_and_not_copied() -> None:
    weight = torch.randn(5, 4)
    packer = TablePacker([weight, weight])
    shared, packed = packer.packed(("fp32", "int8"))
    assert shared.data_ptr() == weight.data_ptr()
    assert packer.packed(("int8", "int8"))[1].data_ptr() == packed.data_ptr()  # Packed once for all trials.


@settings(deadline=None, max_examples=examples(40))
@given(rows=st.integers(1, 50), dim=st.integers(1, 9), block=st.integers(1, 17), dtype=st.sampled_from(TABLE_DTYPES))
def test_blocks_and_files_change_no_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: int, dim: int, block: int, dtype: TableDtype
) -> None:
    table = weights(rows, dim=dim)
    whole = TablePacker(table).packed((dtype,))[0]
    with pytest.MonkeyPatch.context() as patch:
        read_in_segments(patch, 4 * dim * block)
        folder = tmp_path_factory.mktemp("tables")
        packer = TablePacker(table, folder)
        in_file = packer.packed((dtype,))[0]
        in_memory = TablePacker(table).packed((dtype,))[0]
        checksums = packer.keep((dtype,))
    assert torch.equal(in_file, whole)
    assert torch.equal(in_memory, whole)
    (path,) = folder.iterdir()
    assert checksums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert torch.equal(load_file(path)["table"], whole)  # The library can also read it.


def test_packed_table_outlives_its_name(tmp_path: Path) -> None:
    packed = TablePacker(weights(9), tmp_path).packed(("int8",))[0]
    before = packed.clone()
    (tmp_path / "table-00-int8.safetensors").rename(tmp_path / "elsewhere")
    assert torch.equal(packed, before)


def test_only_the_files_of_the_kept_tables_stay(tmp_path: Path) -> None:
    packer = TablePacker(weights(4, 5, 6), tmp_path)
    packer.packed(("int8", "int8", "int4"))
    packer.packed(("int8", "fp16", "fp32"))
    kept = packer.keep(("int8", "fp16", "fp32"))
    expected = ["table-00-int8.safetensors", "table-01-fp16.safetensors", "table-02-fp32.safetensors"]
    assert sorted(kept) == sorted(path.name for path in tmp_path.iterdir()) == expected
    assert torch.equal(load_file(tmp_path / expected[2])["table"], weights(4, 5, 6)[2])


def test_progress_counts_the_bytes_that_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read_in_segments(monkeypatch, 100)
    read: list[int] = []
    TablePacker(weights(40, 30), progress=read.append).packed(("int8", "int4"))
    assert sum(read) == 70 * 6 * 4
    assert len(read) == 10 + 8


def damaged() -> list[torch.Tensor]:
    """Damage rows 7, 8 and 30 of table 1 and row 2 of table 2."""
    tables = weights(10, 40, 5)
    tables[1][7, 1], tables[1][8, 0], tables[1][30, 5] = float("nan"), float("inf"), float("-inf")
    tables[2][2] = float("nan")
    return tables


@pytest.mark.parametrize("dtype", ["int8", "int4", "fp16"])
@pytest.mark.parametrize("block", [24 * 4, 1 << 20])
def test_nonfinite_rows_are_counted_in_all_tables(
    dtype: TableDtype, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_segments(monkeypatch, block)
    message = "table 1: 3 of 40 rows, the first is row 7; table 2: 1 of 5 rows, the first is row 2"
    with pytest.raises(NonFiniteError, match=message):
        TablePacker(damaged()).packed((dtype,) * 3)


def test_nonfinite_rows_of_a_table_that_stays_fp32_are_found_when_it_is_written(tmp_path: Path) -> None:
    packer = TablePacker(damaged(), tmp_path)
    packer.packed(("fp32",) * 3)
    with pytest.raises(NonFiniteError, match="table 1: 3 of 40 rows"):
        packer.keep(("fp32",) * 3)


@pytest.mark.parametrize("dtype", TABLE_DTYPES)
@pytest.mark.parametrize("block", [24 * 4, 1 << 20])
def test_nonfinite_values_are_read_as_zero_when_allowed(
    dtype: TableDtype, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_segments(monkeypatch, block)
    clean = [torch.nan_to_num(table, nan=0.0, posinf=0.0, neginf=0.0) for table in damaged()]
    for folder in (None, tmp_path):
        packer = TablePacker(damaged(), folder, allow_nonfinite=True)
        for found, expected in zip(packer.packed((dtype,) * 3), TablePacker(clean).packed((dtype,) * 3), strict=True):
            assert torch.equal(found, expected)
        packer.packed(("int8",) * 3)  # Packed again, and not counted twice.
        assert packer.nonfinite_rows == {1: 3, 2: 1}


def test_value_beyond_fp16_is_named() -> None:
    table = torch.zeros(70_001, 2)
    table[70_000, 1] = 1e6
    with pytest.raises(NonFiniteError, match=r"table 0: row 70000 holds 1000000\.0, which fp16 cannot represent"):
        TablePacker([table], allow_nonfinite=True).packed(("fp16",))


def test_large_but_finite_fp32_values_are_kept(tmp_path: Path) -> None:
    table = torch.full((4, 3), 3e38)  # Their sum is infinite.
    TablePacker([table], tmp_path).keep(("fp32",))
    assert torch.equal(load_file(tmp_path / "table-00-fp32.safetensors")["table"], table)
