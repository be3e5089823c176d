"""Tensors stored as pieces in several files are mapped, read, checked and refused as one tensor."""

from __future__ import annotations

import itertools
import mmap
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.files.crc32 import crc32_of_both
from dlrm_pl.torch_file.file_tensor import Storage
from dlrm_pl.torch_file.open_file import OpenFile
from dlrm_pl.torch_file.pieces import Piece, TensorInPieces, fill_from
from dlrm_pl.torch_file.stored import StoredTensor

PAGE = mmap.ALLOCATIONGRANULARITY


def piece(folder: Path, table: Tensor, start: tuple[int, ...], shape: tuple[int, ...], gap: int = 0) -> Piece:
    """Write a piece to its own file, at the same offset within a page as in the table, plus ``gap`` bytes."""
    part = table[tuple(slice(first, first + size) for first, size in zip(start, shape, strict=True))].contiguous()
    data = part.reshape(-1).view(torch.uint8).numpy().tobytes()
    row_bytes = table.stride(0) * table.element_size()
    offset = start[0] * row_bytes % PAGE + gap
    path = folder / f"piece-{len(list(folder.iterdir()))}"
    path.write_bytes(bytes(offset) + data)
    storage = Storage("0", table.dtype, part.numel(), offset, zlib.crc32(data))
    return Piece(start, StoredTensor(OpenFile(path), storage, table.dtype, shape, part.stride(), 0))


def cut(folder: Path, table: Tensor, rows: Sequence[int], columns: Sequence[int] = ()) -> TensorInPieces:
    """Cut a table before these rows and columns."""
    pieces = []
    row_bounds = [0, *rows, len(table)]
    column_bounds = [0, *columns, table.shape[1]] if table.dim() == 2 else []
    for low, high in itertools.pairwise(row_bounds):
        if table.dim() == 1:
            pieces.append(piece(folder, table, (low,), (high - low,)))
        for left, right in itertools.pairwise(column_bounds):
            pieces.append(piece(folder, table, (low, left), (high - low, right - left)))
    return TensorInPieces(tuple(table.shape), table.dtype, pieces[::-1])


def mapped_files() -> str:
    return Path("/proc/self/maps").read_text()


@given(
    rows=st.integers(1, 3000),
    columns=st.integers(0, 9),
    cuts=st.lists(st.integers(0, 3000), max_size=3),
    column_cuts=st.lists(st.integers(1, 8), max_size=2, unique=True),
)
def test_it_is_the_tensor_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, cuts: list[int], column_cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    table = torch.randn(rows, columns) if columns else torch.randn(rows)
    pieces = cut(folder, table, sorted(min(c, rows) for c in cuts), sorted(c for c in column_cuts if c < columns))
    assert (pieces.numel(), pieces.nbytes) == (table.numel(), table.nbytes)
    assert torch.equal(pieces.map(), table)
    assert torch.equal(pieces.read(), table)
    assert torch.equal(torch.cat([block.clone() for block in pieces.blocks(1000)]), table)
    if pieces.crc32 is not None:
        assert pieces.crc32 == zlib.crc32(table.numpy().tobytes())
    part = torch.empty_like(table[rows // 3 :])
    pieces.fill(part, (rows // 3, *(0 for _ in table.shape[1:])))
    assert torch.equal(part, table[rows // 3 :])


def test_rows_are_mapped_and_written_pages_stay_in_memory(tmp_path: Path) -> None:
    table = torch.randn(5001, 4)
    pieces = cut(tmp_path, table, [1000, 2717])
    tensor = pieces.map()
    assert mapped_files().count(str(tmp_path / "piece-")) == 3
    tensor += 1
    assert torch.equal(tensor, table + 1)
    assert torch.equal(pieces.map(), table)
    del tensor
    assert str(tmp_path / "piece-") not in mapped_files()


def test_columns_are_mapped_from_a_copy_that_is_gone_with_the_tensor(tmp_path: Path) -> None:
    table = torch.randn(5000, 6)
    (tmp_path / "checkpoint").mkdir()
    tensor = cut(tmp_path / "checkpoint", table, [], [2]).map()
    assert torch.equal(tensor, table)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert str(tmp_path) in mapped_files()
    del tensor
    assert str(tmp_path) not in mapped_files()


def test_rows_at_other_places_of_their_pages_are_copied(tmp_path: Path) -> None:
    table = torch.randn(5000, 4)
    pieces = [piece(tmp_path, table, (0, 0), (2000, 4)), piece(tmp_path, table, (2000, 0), (3000, 4), gap=4)]
    assert torch.equal(TensorInPieces((5000, 4), torch.float32, pieces).map(), table)


@given(data=st.binary(max_size=300), first=st.integers(0, 300))
def test_checksum_of_two_runs_is_that_of_both(data: bytes, first: int) -> None:
    one, other = data[:first], data[first:]
    assert crc32_of_both(zlib.crc32(one), zlib.crc32(other), len(other)) == zlib.crc32(data)


@pytest.mark.parametrize("column", [3, 0])
def test_a_changed_byte_is_found_and_its_tensor_named(tmp_path: Path, column: int) -> None:
    pieces = cut(tmp_path, torch.randn(100, 4), [50], [column] if column else [])
    path = pieces.pieces[-1].stored.file.path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    with path.open("r+b") as handle:
        handle.write(data)
    pieces.pieces[-1].stored.file.state = pieces.pieces[-1].stored.file.state.of(path)
    with pytest.raises(CheckpointError, match=r"checksum mismatch .* which hold table 7"):
        pieces.check("table 7")


def test_a_shortened_file_is_refused(tmp_path: Path) -> None:
    pieces = cut(tmp_path, torch.randn(5000, 4), [2500])
    os.truncate(pieces.pieces[1].stored.file.path, 100)
    for use in (pieces.map, lambda: list(pieces.blocks())):
        with pytest.raises(CheckpointError, match="cut short since it was opened"):
            use()


@pytest.mark.parametrize(
    ("choose", "match"),
    [
        (lambda pieces: pieces[1:], "row 0 "),
        (lambda pieces: pieces[:-1], "column 2 "),
        (lambda pieces: pieces[:1] + pieces[2:], "row 50 "),
        (lambda pieces: [*pieces, pieces[0]], "row 50 "),
        (lambda pieces: [], "column 0 "),
    ],
)
def test_a_gap_or_an_overlap_is_refused(
    tmp_path: Path, choose: Callable[[list[Piece]], list[Piece]], match: str
) -> None:
    table = torch.randn(100, 4)
    starts = [((0, 0), (50, 2)), ((50, 0), (50, 2)), ((0, 2), (100, 2))]
    pieces = [piece(tmp_path, table, start, shape) for start, shape in starts]
    with pytest.raises(CheckpointError, match=f"{match}of a tensor"):
        TensorInPieces((100, 4), torch.float32, choose(pieces))


def test_a_piece_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="another type"):
        TensorInPieces((5, 4), torch.float64, [piece(tmp_path, torch.randn(5, 4), (0, 0), (5, 4))])


def test_a_part_is_filled_from_the_pieces_that_meet_it(tmp_path: Path) -> None:
    table = torch.randn(300, 7)
    pieces = cut(tmp_path, table, [100, 200], [3]).pieces
    part = torch.empty(150, 3, dtype=torch.float64)
    fill_from(pieces, part, (75, 2))
    assert torch.equal(part, table[75:225, 2:5].double())
