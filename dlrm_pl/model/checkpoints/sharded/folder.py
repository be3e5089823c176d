"""Open a sharded checkpoint like an ordinary one; its tables are in pieces, in the files of several processes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dlrm_pl.documents.fields import Count, Partial, make, shown
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.sharded.names import DENSE_NAME, FORMAT, KEY, MARKER_NAME, SUM, WEIGHT
from dlrm_pl.model.checkpoints.sharded.row_sums import ColumnRange, RowSums
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_file.pieces import Piece, TensorInPieces
from dlrm_pl.torch_file.stored import StoredTensor

_ADVICE = "Copy the whole folder again, or give another checkpoint."
TABLE_NAME = "model.embedding_bags.tables.{}.weight"


@dataclass(frozen=True)
class _Marker:
    """What ``complete.json`` states, before it is checked."""

    format: int
    identity: str
    global_step: Count
    files: dict[str, Count]
    run: str = ""


@dataclass(frozen=True)
class _Part(Partial):
    """What a process's file states."""

    identity: str
    pieces: list[Any]


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of a table in the file of a process, see ``SavedPiece``."""

    table: Count
    name: str
    start: list[Count]
    columns: Count
    values: Any
    padding: Any = None


def open_sharded(folder: Path) -> dict[str, Any]:
    """Open a sharded checkpoint of any size; its tensors are ``FileTensor``, like those of an ordinary one.

    Args:
        folder: folder that ``fit`` wrote with ``trainer.strategy=sharded``.

    Raises:
        CheckpointError: the folder is incomplete or corrupt.
    """
    marker = _marker(folder)
    opened_dense = _open(folder / DENSE_NAME, marker.files[DENSE_NAME])
    contents: dict[str, Any] = opened_dense if isinstance(opened_dense, dict) else {}
    stated = contents.pop(KEY, None)
    if not isinstance(stated, dict) or stated.get("identity") != marker.identity:
        raise CheckpointError(f"{folder / DENSE_NAME}: belongs to another checkpoint than {MARKER_NAME}. {_ADVICE}")
    pieces: dict[tuple[int, str], list[_Piece]] = {}
    names = [name for name in marker.files if name != DENSE_NAME]
    with ThreadPoolExecutor(16) as pool:
        opened = pool.map(lambda name: _open(folder / name, marker.files[name]), names)
        for name, part in zip(names, opened, strict=True):
            for piece in _pieces(folder / name, part, marker.identity):
                pieces.setdefault((piece.table, piece.name), []).append(piece)
    try:
        _put_together(contents, pieces, stated.get("numbers"))
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {str(error).rstrip('.')}. {_ADVICE}") from error
    return contents


def _marker(folder: Path) -> _Marker:
    path = folder / MARKER_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: is not a whole checkpoint: {MARKER_NAME}, which is written last, is missing. Either saving "
            "it was interrupted, or the folder was only partly copied; give an earlier checkpoint."
        )
    marker = make(_Marker, read_json(path, CheckpointError, _ADVICE), str(path), CheckpointError, _ADVICE)
    if marker.format != FORMAT:
        raise CheckpointError(
            f"{path}: has format {marker.format}, but this version of dlrm_pl reads {FORMAT}. Use the version that "
            "wrote it."
        )
    if DENSE_NAME not in marker.files or any(Path(name).name != name for name in marker.files):
        raise CheckpointError(f"{path}: does not list the files of a checkpoint. {_ADVICE}")
    return marker


def _open(path: Path, size: int) -> Any:
    """Open a file that the marker lists, and check its size."""
    if not path.is_file():
        raise CheckpointError(f"{path.parent}: {path.name}, a file of the checkpoint, is missing. {_ADVICE}")
    found = path.stat().st_size
    if found != size:
        raise CheckpointError(f"{path}: has {found:,} bytes instead of {size:,}. {_ADVICE}")
    return TorchFile.open(path).contents


def _pieces(path: Path, contents: Any, identity: str) -> list[_Piece]:
    part = make(_Part, contents, str(path), CheckpointError, _ADVICE)
    if part.identity != identity:
        raise CheckpointError(f"{path}: belongs to another checkpoint than {MARKER_NAME}. {_ADVICE}")
    pieces = [make(_Piece, piece, f"{path}: pieces", CheckpointError, _ADVICE) for piece in part.pieces]
    for piece in pieces:
        is_known = piece.name in (WEIGHT, SUM) and len(piece.start) == 2 and isinstance(piece.values, StoredTensor)
        if not is_known or piece.values.shape[1:] not in ((piece.columns,), *([()] if piece.name == SUM else [])):
            raise CheckpointError(f"{path}: {shown(piece.name)} of table {piece.table} has no valid shape. {_ADVICE}")
    return pieces


def _put_together(contents: dict[str, Any], pieces: dict[tuple[int, str], list[_Piece]], numbers: Any) -> None:
    """Add the tables, and the state of the optimizer for them, to the contents of ``dense.pt``."""
    contract = CheckpointContract.read(contents)
    sizes, width = contract.architecture.table_sizes, contract.architecture.embedding_dim
    if any(name == SUM for _, name in pieces) and not _are_numbers(numbers, len(sizes)):
        raise CheckpointError("corrupt: it does not state which of the optimizer's parameters are tables")
    if outside := [table for table, _ in pieces if table >= len(sizes)]:
        raise CheckpointError(f"corrupt: it has a piece of table {outside[0]}, but only {len(sizes)} tables")
    for table, rows in enumerate(sizes):
        try:
            weights = TensorInPieces((rows, width), torch.float32, _of_values(pieces.get((table, WEIGHT), [])))
            contents["state_dict"][TABLE_NAME.format(table)] = weights
            if sums := pieces.get((table, SUM)):
                _add_state(contents, numbers[table], _sums(rows, width, sums))
        except CheckpointError as error:
            raise CheckpointError(f"table {table}: {error}") from error


def _are_numbers(numbers: Any, count: int) -> bool:
    return isinstance(numbers, list) and len(numbers) == count and all(type(number) is int for number in numbers)


def _add_state(contents: dict[str, Any], number: int, sums: FileTensor) -> None:
    try:
        state = contents["optimizer_states"][0]["state"]
        state[number] = {"step": torch.tensor(float(contents["global_step"])), SUM: sums}
    except (KeyError, IndexError, TypeError) as error:
        raise CheckpointError("corrupt: it has optimizer states for tables, but no optimizer") from error


def _sums(rows: int, width: int, pieces: Sequence[_Piece]) -> FileTensor:
    if len(pieces[0].values.shape) == 2:
        return TensorInPieces((rows, width), torch.float32, _of_values(pieces))
    ranges: dict[tuple[int, int], list[Piece]] = {}
    for piece in pieces:
        ranges.setdefault((piece.start[1], piece.columns), []).append(Piece((piece.start[0],), piece.values))
    of_columns = [
        ColumnRange(column, columns, TensorInPieces((rows,), torch.float32, found))
        for (column, columns), found in ranges.items()
    ]
    return RowSums(rows, width, of_columns)


def _of_values(pieces: Sequence[_Piece]) -> list[Piece]:
    return [Piece((piece.start[0], piece.start[1]), piece.values) for piece in pieces]
