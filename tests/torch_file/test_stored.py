"""Rows of a tensor in a file, read without the other rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlrm_pl.torch_file.directory import TorchFile


@pytest.mark.parametrize("rows", [[], [0], [199], [3, 4, 5, 9, 8, 8, 120, 121], list(range(200))])
@pytest.mark.parametrize("shape", [(200, 7), (200,), (200, 2, 3)])
def test_rows_are_read_without_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[int], shape: tuple[int, ...]
) -> None:
    table = torch.randn(shape)
    torch.save({"table": table, "gaps": table.clone()[::2]}, tmp_path / "a.pt")
    contents = TorchFile.open(tmp_path / "a.pt").contents
    numbers = torch.tensor(rows, dtype=torch.int64)
    assert torch.equal(contents["gaps"].take(numbers // 2), table[::2][numbers // 2])
    if rows:
        monkeypatch.setattr("dlrm_pl.torch_file.stored.map_elements", None)
    assert torch.equal(contents["table"].take(numbers), table[numbers])
