"""Assign pieces of tables to the processes that write them: torch.distributed.checkpoint's planner, with our pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, StorageMeta, TensorProperties
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType

from dlrm_pl.model.checkpoints.sharded.names import SavedPiece


class PiecesPlanner(DefaultSavePlanner):
    """Plan to write each piece once: if several processes have a whole table, one of them writes it.

    The coordinator checks that the pieces of all processes form whole tables.

    Args:
        pieces: pieces of this process.
        shapes: rows and columns of each table.
    """

    def __init__(self, pieces: Sequence[SavedPiece], shapes: Sequence[tuple[int, int]]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._shapes = shapes
        self._pieces = {self._key(piece): piece for piece in pieces if piece["values"].numel()}

    def set_up_planner(
        self, state_dict: dict[str, Any], storage_meta: StorageMeta | None = None, is_coordinator: bool = False
    ) -> None:
        """Ignore the state dict: the pieces are known."""
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> SavePlan:
        """Offer all pieces of this process."""
        self.plan = SavePlan([self._item(*key, piece["values"]) for key, piece in self._pieces.items()])
        return self.plan

    def piece(self, item: WriteItem) -> SavedPiece:
        """Return the piece for an item of the plan."""
        assert item.index.offset is not None
        return self._pieces[item.index.fqn, tuple(item.index.offset)]

    def _key(self, piece: SavedPiece) -> tuple[str, tuple[int, ...]]:
        """Return the name and the place of a piece; numbers per row are one tensor for each range of columns."""
        name = f"{piece['table']}.{piece['name']}"
        if piece["values"].dim() == 2:
            return name, tuple(piece["start"])
        return f"{name}.{piece['start'][1]}+{piece['columns']}", (piece["start"][0],)

    def _item(self, name: str, start: tuple[int, ...], values: Tensor) -> WriteItem:
        rows, columns = self._shapes[int(name.partition(".")[0])]
        data = TensorWriteData(
            chunk=ChunkStorageMetadata(offsets=torch.Size(start), sizes=values.size()),
            properties=TensorProperties.create_from_tensor(values),
            size=torch.Size((rows, columns)[: values.dim()]),
        )
        return WriteItem(MetadataIndex(name, start), WriteItemType.SHARD, tensor_data=data)
