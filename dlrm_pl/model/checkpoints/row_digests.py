"""Digests of table rows in a checkpoint, computed while it is written.

A refresh uses them to find which rows have changed since an earlier artifact, and reads only those. They are in the
entry ``dlrm_pl_digests``: for each table of float32 rows, by the name of its parameter, the digests of its blocks, see
``dlrm_pl.kernels.hashing``. Checkpoints without them can be read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.kernels.hashing.blocks import DIGEST_BYTES, native_digest, rows_of_block
from dlrm_pl.torch_file.file_tensor import FileTensor

DIGESTS_KEY = "dlrm_pl_digests"

LARGEST_BLOCK_BYTES = 128 << 10
"""Maximum size of a table's block that has one digest: native code hashes a block while it is in the cache."""

_TABLES = "embedding_bags.tables."
_PREFIX = "model."


def block_bytes_of(table: Tensor | FileTensor) -> int:
    """Return the number of bytes in a block of a table; a block holds whole rows."""
    row_bytes = 4 * table.shape[1]
    return rows_of_block(row_bytes) * row_bytes


def room_for_digests(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Allocate tensors for the digests of the tables in a state dict, by the name of the table's parameter.

    The result is empty without the native code that fills them while the tables are written.
    """
    if native_digest() is None:
        return {}
    found = {}
    for name, table in state_dict.items():
        if not name.startswith(_PREFIX + _TABLES) or not isinstance(table, Tensor) or table.dtype != torch.float32:
            continue
        if table.dim() == 2 and table.numel() and (block := block_bytes_of(table)) <= LARGEST_BLOCK_BYTES:
            blocks = -(-4 * table.numel() // block)
            found[name.removeprefix(_PREFIX)] = torch.zeros(blocks, DIGEST_BYTES, dtype=torch.uint8)
    return found


def stored_digests(checkpoint: Mapping[str, Any]) -> dict[str, FileTensor]:
    """Return the digests in an opened checkpoint that belong to one of its tables, by the name of its parameter."""
    stated, state = checkpoint.get(DIGESTS_KEY), checkpoint["state_dict"]
    found = {}
    for name, digests in stated.items() if isinstance(stated, Mapping) else ():
        table = state.get(f"{_PREFIX}{name}")
        if not isinstance(table, FileTensor) or not isinstance(digests, FileTensor) or len(table.shape) != 2:
            continue
        blocks = -(-table.nbytes // max(1, block_bytes_of(table)))
        if table.dtype == torch.float32 and digests.dtype == torch.uint8 and digests.shape == (blocks, DIGEST_BYTES):
            found[name] = digests
    return found
