from pathlib import Path

import pytest
import torch

from dlrm_pl.kernels.int8.pages import Pages, empty_table, place


@pytest.mark.parametrize(("rows", "size"), [(0, 132), (3, 132), (40_000, 132)])
def test_tables_are_zeroed_writable_and_start_at_a_page(rows: int, size: int) -> None:
    table = empty_table(rows, size)
    assert table.shape == (rows, size)
    assert table.is_contiguous()
    assert not table.any()
    table.fill_(7)
    if rows * size >= 2 << 20:
        assert table.data_ptr() % (2 << 20) == 0


def test_a_table_outlives_the_name_of_its_memory() -> None:
    tables = [empty_table(40_000, 132).fill_(number) for number in range(4)]
    assert [int(table[-1, -1]) for table in tables] == [0, 1, 2, 3]


@pytest.mark.parametrize("pages", ["mapped", "prefault", "huge"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_a_placed_table_holds_the_same(tmp_path: Path, pages: Pages, dtype: torch.dtype) -> None:
    values = torch.arange(600_000, dtype=torch.float32).view(-1, 8).to(dtype)
    path = tmp_path / "table"
    path.write_bytes(values.numpy().tobytes())
    mapped = torch.from_file(str(path), size=values.numel(), dtype=dtype).view(-1, 8)
    placed = place(mapped, pages)
    assert torch.equal(placed, values)
    assert (placed.data_ptr() == mapped.data_ptr()) == (pages != "huge")
