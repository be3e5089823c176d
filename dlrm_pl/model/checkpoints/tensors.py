"""The tensors of an opened checkpoint, and which of them were compared with their checksums."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dlrm_pl.torch_file.plain import replace_leaves
from dlrm_pl.torch_file.stored import StoredTensor

SMALL_BYTES = 16 << 20
"""Tensors up to here are compared with their checksums whenever a checkpoint is opened: 4 ms each."""


def is_checked_always(tensor: StoredTensor, name: str) -> bool:
    """Small, or a weight that every sample goes through."""
    return tensor.storage.nbytes <= SMALL_BYTES or (name.startswith("model.") and ".embedding_bags." not in name)


def check_tensors(tensors: Iterable[tuple[StoredTensor, str]]) -> None:
    """Compare tensors with the checksums in their file, by all processors.

    Raises:
        CheckpointError: one is damaged; names it.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        # The largest first, so that no processor is left with it at the end.
        largest_first = sorted(tensors, key=lambda pair: -pair[0].storage.nbytes)
        list(pool.map(lambda pair: pair[0].check(pair[1]), largest_first))


def stored_tensors(checkpoint: Any) -> list[tuple[StoredTensor, str]]:
    """All tensors in a file, each with what it is called in messages."""
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    names = {id(value): str(name) for name, value in state.items()} if isinstance(state, dict) else {}
    found: list[tuple[StoredTensor, str]] = []

    def visit(tensor: StoredTensor) -> StoredTensor:
        found.append((tensor, names.get(id(tensor), "a tensor of an optimizer")))
        return tensor

    replace_leaves(checkpoint, StoredTensor, visit)
    return found


def unchecked(checkpoint: Any) -> str:
    """What of an opened checkpoint was not compared with its checksums, in words; empty when all was."""
    storages = {id(tensor.storage): tensor.storage for tensor, _ in stored_tensors(checkpoint)}.values()
    without = sum(storage.nbytes for storage in storages if storage.crc32 is None)
    left = sum(storage.nbytes for storage in storages if storage.crc32 is not None and not storage.checked)
    parts = [f"{left:,} bytes of large tensors"] if left else []
    return " and ".join(parts + ([f"{without:,} bytes that the file has no checksum of"] if without else []))
