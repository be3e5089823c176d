"""Where the bytes of a checkpoint file lie in memory, in the order of the file; nothing is copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.torch_file.writer import InMemory, PlacedTensor, other_entries, place_tensors
from dlrm_pl.torch_file.zip_writer import CRC_IN_DIRECTORY, CRC_IN_HEADER, ZipEntry, end_of_directory

_KINDS = {torch.float32: 1, torch.float64: 2, torch.bfloat16: 3, torch.float16: 4}
"""What ``native.Job`` calls floats that must be finite."""


class Layout:
    """The bytes of a file that ``torch.load`` reads, as ``write_torch_file`` writes it.

    Args:
        path: file that errors name.
        contents: dicts, lists and tuples of plain values and tensors.
        must_be_finite: name of a tensor whose values must be finite, for errors; None for another tensor.

    Attributes:
        size: number of bytes of the file.
        tensor_bytes: number of bytes of its tensors.
        parts: see ``native.Job``.
        patches: see ``native.Job``.
        names: name of the tensor that a part is, if its values must be finite.
        memory: address and size of each tensor, in order of the addresses.

    Raises:
        CheckpointError: a value has a type that cannot be written.
    """

    def __init__(
        self, path: Path, contents: dict[str, Any], must_be_finite: Callable[[Tensor], str | None] = lambda _: None
    ) -> None:
        placed, tensors = place_tensors(path, contents)
        self._kept: list[Any] = []  # What the addresses belong to.
        self._entries: list[ZipEntry] = []
        self._rows: list[tuple[int, int, int, int]] = []
        self.size = 0
        self.tensor_bytes = 0
        self.names: dict[int, str] = {}
        memory: list[tuple[int, int]] = []
        for tensor in tensors:
            assert isinstance(tensor.source, InMemory)
            name = must_be_finite(tensor.source.tensor)
            if tensor.nbytes:
                memory.append(self._add_tensor(tensor, tensor.source.tensor, name))
            else:
                self._add(tensor.entry, b"")
        for name, content in other_entries(placed):
            self._add(name, content)
        self._end()
        self.memory = sorted(memory)
        self.parts: npt.NDArray[np.int64] = np.array(self._rows, np.int64)
        places = [(entry.header + CRC_IN_HEADER, number) for number, entry in enumerate(self._entries)]
        self.patches: npt.NDArray[np.int64] = np.array(places + self._in_directory, np.int64)

    @property
    def overlaps(self) -> bool:
        """Whether two tensors share memory."""
        ends = [start + size for start, size in self.memory]
        return any(end > start for end, (start, _) in zip(ends, self.memory[1:], strict=False))

    def _add_tensor(self, placed: PlacedTensor, tensor: Tensor, name: str | None) -> tuple[int, int]:
        # The same tensor, unless it is on a device or has gaps.
        held = tensor.detach().cpu().contiguous()
        self._header(placed.entry, placed.nbytes)
        kind = 0
        if name is not None and (kind := _KINDS.get(held.dtype, 0)):
            self.names[len(self._rows)] = name
        self._part(held, held.data_ptr(), placed.nbytes, len(self._entries) - 1, kind)
        self.tensor_bytes += placed.nbytes
        return held.data_ptr(), placed.nbytes

    def _add(self, name: str, content: bytes) -> None:
        self._header(name, len(content))
        self._bytes(content, len(self._entries) - 1)

    def _header(self, name: str, size: int) -> None:
        self._entries.append(ZipEntry(name.encode(), self.size, size))
        self._bytes(self._entries[-1].header_bytes())

    def _end(self) -> None:
        """Add the central directory, whose records hold the checksums a second time."""
        start = self.size
        self._in_directory = []
        for number, entry in enumerate(self._entries):
            self._in_directory.append((self.size + CRC_IN_DIRECTORY, number))
            self._bytes(entry.directory_record())
        self._bytes(end_of_directory(len(self._entries), start, self.size - start))

    def _bytes(self, content: bytes, entry: int = -1) -> None:
        held = np.frombuffer(content, np.uint8)
        self._part(held, held.ctypes.data, len(content), entry, 0)

    def _part(self, held: Any, start: int, size: int, entry: int, kind: int) -> None:
        self._kept.append(held)
        self._rows.append((start, size, entry, kind))
        self.size += size
