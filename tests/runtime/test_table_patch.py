"""A patch puts its rows into a table, or is refused before it changes any."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlrm_pl.errors import ArtifactError
from dlrm_pl.files.tensor_file import save_tensors
from dlrm_pl.runtime.table_file import map_table, write_table
from dlrm_pl.runtime.table_patch import apply_patch, patch_name, write_patch

TABLE = torch.arange(60, dtype=torch.uint8).view(5, 12)
VALUES = torch.full((2, 12), 200, dtype=torch.uint8)


def test_rows_are_replaced_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "table-03-int8.safetensors"
    write_table(path, "int8", 5, 8, [TABLE])
    before = path.read_bytes()
    patch = tmp_path / patch_name(path.name, 2)
    assert patch.name == "table-03-int8.patch-2.safetensors"
    write_patch(patch, torch.tensor([1, 4]), VALUES, 5)
    table = map_table(path)
    apply_patch(patch, table)
    expected = TABLE.clone()
    expected[[1, 4]] = VALUES
    assert table.equal(expected)
    assert path.read_bytes() == before
    assert map_table(path).equal(TABLE)


@pytest.mark.parametrize("rows", [2**31 - 1, 2**31])
def test_numbers_are_as_wide_as_the_table_needs(tmp_path: Path, rows: int) -> None:
    from safetensors.torch import load_file

    write_patch(tmp_path / "p", torch.tensor([3, rows - 1]), VALUES, rows)
    found = load_file(tmp_path / "p")["rows"]
    assert found.tolist() == [3, rows - 1]
    assert found.dtype == (torch.int32 if rows < 2**31 else torch.int64)


WRONG = {
    "descending": (torch.tensor([4, 1]), VALUES),
    "twice the same": (torch.tensor([1, 1]), VALUES),
    "negative": (torch.tensor([-1, 1]), VALUES),
    "beyond the table": (torch.tensor([1, 5]), VALUES),
    "fewer numbers than rows": (torch.tensor([1]), VALUES),
    "another width": (torch.tensor([1, 4]), VALUES[:, :11].contiguous()),
    "another type": (torch.tensor([1, 4]), VALUES.to(torch.int8)),
    "numbers that are floats": (torch.tensor([1.0, 4.0]), VALUES),
    "numbers in a table": (torch.tensor([[1, 4]]), VALUES),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_patch_is_refused_and_changes_nothing(tmp_path: Path, wrong: str) -> None:
    rows, values = WRONG[wrong]
    save_tensors({"rows": rows, "values": values}, tmp_path / "p")
    table = TABLE.clone()
    with pytest.raises(ArtifactError, match=r"p: .*The file is corrupt"):
        apply_patch(tmp_path / "p", table)
    assert table.equal(TABLE)


@pytest.mark.parametrize("damage", ["missing", "cut short", "no rows", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "p"
    write_patch(path, torch.tensor([1, 4]), VALUES, 5)
    if damage == "missing":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "no rows":
        save_tensors({"values": VALUES}, path)
    else:
        path.write_text("rows")
    with pytest.raises(ArtifactError, match="p: cannot be read"):
        apply_patch(path, TABLE.clone())
