"""Tensors of an opened checkpoint, and which of them have been compared with their checksums."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_file.plain import replace_leaves

SMALL_BYTES = 16 << 20
"""Tensors up to this size are compared with their checksums whenever a checkpoint is opened, which takes 4 ms each."""


def is_checked_always(tensor: FileTensor, name: str) -> bool:
    """Return whether a tensor is small, or a weight of an MLP, through which every sample passes."""
    return _stored_bytes(tensor) <= SMALL_BYTES or (name.startswith("model.") and ".embedding_bags." not in name)


def check_tensors(tensors: Iterable[tuple[FileTensor, str]]) -> None:
    """Compare tensors with the checksums in their file, on all processors.

    Raises:
        CheckpointError: a tensor is corrupt; the message names it.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        # The largest are checked first, so that no processor is left with a large one at the end.
        largest_first = sorted(tensors, key=lambda pair: -_stored_bytes(pair[0]))
        list(pool.map(lambda pair: pair[0].check(pair[1]), largest_first))


def stored_tensors(checkpoint: Any) -> list[tuple[FileTensor, str]]:
    """List all tensors in a file, each with its name for messages."""
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    names = {id(value): str(name) for name, value in state.items()} if isinstance(state, dict) else {}
    tensors: list[tuple[FileTensor, str]] = []

    def visit(tensor: FileTensor) -> FileTensor:
        tensors.append((tensor, names.get(id(tensor), "a tensor of an optimizer")))
        return tensor

    replace_leaves(checkpoint, FileTensor, visit)
    return tensors


def _stored_bytes(tensor: FileTensor) -> int:
    return sum(storage.nbytes for storage in tensor.storages)


def unchecked(checkpoint: Any) -> str:
    """Describe which parts of an opened checkpoint were not compared with their checksums; empty if all were."""
    tensors = [tensor for tensor, _ in stored_tensors(checkpoint)]
    storages = {id(storage): storage for tensor in tensors for storage in tensor.storages}.values()
    without = sum(storage.nbytes for storage in storages if storage.crc32 is None)
    left = sum(storage.nbytes for storage in storages if storage.crc32 is not None and not storage.checked)
    parts = [f"{left:,} bytes of large tensors"] if left else []
    return " and ".join(parts + ([f"{without:,} bytes without a checksum in the file"] if without else []))
