"""Files of a sharded checkpoint, and the names of their contents.

A folder holds ``dense.pt``, an ordinary checkpoint without tables; for each process, ``part-N.pt`` with its parts of
the tables and of the optimizer's state; and ``complete.json``, which is written last. Without that, the other files are
not a checkpoint. All files contain the same random identity, so that files of two checkpoints are not mixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
MARKER_NAME = "complete.json"
DENSE_NAME = "dense.pt"
PART_NAME = "part-{}.pt"
KEY = "dlrm_pl_sharded"
"""Entry of ``dense.pt``: the identity, and the index of each table among the optimizer's parameters."""
WEIGHT = "weight"
"""Kind of a piece: a table's weights,"""
SUM = "sum"
"""or what Adagrad has accumulated for them: one number for each value, or for each row."""


class SavedPiece(TypedDict):
    """A piece of a table, as stored in a file.

    Attributes:
        table: number of the table.
        name: ``WEIGHT`` or ``SUM``.
        start: first row and first column of the piece in its table.
        columns: number of columns of that table.
        padding: meaningless bytes before the values. They make whole rows begin at the same position within a page of
            the file as within a page of the whole table, so that all pieces of the table can be mapped as one tensor.
        values: ``[rows, columns]``, or ``[rows]`` with one number for all of these columns.
    """

    table: int
    name: str
    start: list[int]
    columns: int
    padding: NotRequired[Tensor]
    values: Tensor


def is_sharded(path: Path) -> bool:
    """Return whether a path is the folder of a sharded checkpoint, complete or not."""
    return path.is_dir() and any((path / name).is_file() for name in (MARKER_NAME, DENSE_NAME, PART_NAME.format(0)))
