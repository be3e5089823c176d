"""Sharded checkpoints as several processes write them, made by one process without TorchRec."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.checkpoints.sharded.names import DENSE_NAME, KEY, MARKER_NAME, PART_NAME
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_file.writer import write_torch_file

Cut = Callable[[int, int, int], list[tuple[int, int, int, int]]]
"""Maps a table's number, rows and columns to the first row, first column, rows and columns of each piece."""


def by_rows(table: int, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """Cut into two pieces by rows."""
    half = -(-rows // 2)
    return [(0, 0, half, columns), (half, 0, rows - half, columns)]


def by_columns(table: int, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """Cut into two pieces by columns."""
    return [(0, 0, rows, columns // 2), (0, columns // 2, rows, columns - columns // 2)]


def by_tables(table: int, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """Keep a table whole."""
    return [(0, 0, rows, columns)]


def mixed(table: int, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """Cut tables by rows, by columns and not at all, in turn."""
    return (by_rows, by_columns, by_tables)[table % 3](table, rows, columns)


class _Part:
    """A piece of a tensor of another file, used as a source."""

    crc32 = None

    def __init__(self, whole: FileTensor, start: tuple[int, int], shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, whole.dtype
        self._whole, self._start = whole, start

    def blocks(self) -> Any:
        """Yield the part of each block of the tensor that belongs to the piece."""
        (row, column), done = self._start, 0
        for block in self._whole.blocks():
            part = block[max(row - done, 0) : max(row + self.shape[0] - done, 0)]
            done += len(block)
            if len(part):
                yield (part[:, column : column + self.shape[1]] if part.dim() == 2 else part).contiguous()


def write_sharded(
    source: Path, folder: Path, cut: Cut = mixed, ranks: int = 2, identity: str = "0123456789abcdef"
) -> Path:
    """Write a checkpoint of one process as several processes would have; tables are read block by block."""
    contents = open_checkpoint(source)
    parts: list[list[dict[str, Any]]] = [[] for _ in range(ranks)]
    names = sorted(
        (name for name in contents["state_dict"] if ".tables." in name), key=lambda name: int(name.split(".")[3])
    )
    saved = contents.get("optimizer_states") or []
    numbers = saved[0]["param_groups"][-1]["params"][: len(names)] if saved else []
    for table, name in enumerate(names):
        whole = contents["state_dict"].pop(name)
        state = saved[0]["state"].pop(numbers[table], {}) if numbers else {}
        for place, (row, column, rows, columns) in enumerate(cut(table, *whole.shape)):
            tensors = {"weight": _Part(whole, (row, column), (rows, columns))}
            if "sum" in state:
                is_by_row = len(state["sum"].shape) == 1
                tensors["sum"] = _Part(state["sum"], (row, column), (rows,) if is_by_row else (rows, columns))
            for kind, values in tensors.items():
                piece = {"table": table, "name": kind, "start": [row, column], "columns": columns, "values": values}
                parts[(table + place) % ranks].append(piece)
    folder.mkdir()
    for rank, pieces in enumerate(parts):
        write_torch_file(folder / PART_NAME.format(rank), {"identity": identity, "rank": rank, "pieces": pieces})
    write_torch_file(folder / DENSE_NAME, contents | {KEY: {"identity": identity, "numbers": numbers}})
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    stated = {"format": 1, "identity": identity, "global_step": contents["global_step"], "files": files}
    (folder / MARKER_NAME).write_text(json.dumps(stated))
    return folder


def same_contents(one: Any, other: Any) -> bool:
    """Tell whether two loaded checkpoints are equal, with tensors compared bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and one.keys() == other.keys() and all(same_contents(one[k], other[k]) for k in one)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_contents, one, other))
    return bool(one == other)
