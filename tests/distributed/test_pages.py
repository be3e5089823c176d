"""Pieces are aligned in their files so that a table in pieces can be mapped as one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dlrm_pl.distributed.checkpoints.pages import with_padding
from dlrm_pl.model.checkpoints.sharded.names import SavedPiece
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.pieces import Piece, TensorInPieces
from dlrm_pl.torch_file.writer import write_torch_file

ROWS = 3001
CUTS = [0, 7, 1500, 1501, 1501, 2999, ROWS]  # Pieces with a few rows, with none, and with many pages.


def _piece(table: Tensor, first: int, end: int) -> SavedPiece:
    return SavedPiece(table=0, name="weight", start=[first, 0], columns=table.shape[1], values=table[first:end])


@pytest.mark.parametrize("width", [16, 128])
@pytest.mark.parametrize("files", [1, 3])
def test_pieces_are_mapped_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, files: int) -> None:
    table = torch.arange(ROWS * width, dtype=torch.float32).view(ROWS, width)
    pieces = [_piece(table, first, end) for first, end in pairwise(CUTS)]
    found = []
    for number in range(files):
        path = tmp_path / f"part-{number}.pt"
        write_torch_file(path, {"pieces": [dict(piece) for piece in with_padding(pieces[number::files])]})
        found += [Piece((one["start"][0], 0), one["values"]) for one in TorchFile.open(path).contents["pieces"]]
    whole = TensorInPieces((ROWS, width), torch.float32, found)

    def refuse(self: TensorInPieces) -> None:
        raise AssertionError("the tensor was copied")

    monkeypatch.setattr(TensorInPieces, "_copy", refuse)
    assert torch.equal(whole.map(), table)


def test_rows_whose_pages_cannot_be_matched_get_no_padding(tmp_path: Path) -> None:
    table = torch.arange(15.0).view(5, 3)
    (piece,) = with_padding([_piece(table, 1, 5)])
    assert piece["padding"].numel() == 0
    write_torch_file(tmp_path / "part-0.pt", {"pieces": [dict(piece)]})
    assert torch.equal(TorchFile.open(tmp_path / "part-0.pt").contents["pieces"][0]["values"].read(), table[1:])
