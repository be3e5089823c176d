"""Positions of a checkpoint file's bytes in memory, in the order of the file; nothing is copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from dlrm_pl.saving.parts import Digests, FileParts


class Layout:
    """Bytes of a file that ``torch.load`` reads, as ``write_torch_file`` writes it.

    Args:
        path: path for error messages.
        contents: dicts, lists and tuples of plain values and tensors.
        must_be_finite: returns the name of a tensor whose values must be finite, for error messages; None for other
            tensors.
        digests_of: see ``FileParts.add_archive``.

    Attributes:
        size: number of bytes of the file.
        tensor_bytes: number of bytes of its tensors.
        parts: see ``native.Job``.
        patches: see ``native.Job``.
        names: for each part, the name of its tensor if the tensor's values must be finite.
        memory: address and size of each tensor, in order of the addresses.

    Raises:
        CheckpointError: a value has a type that cannot be written.
    """

    def __init__(
        self,
        path: Path,
        contents: dict[str, Any],
        must_be_finite: Callable[[Tensor], str | None] = lambda _: None,
        digests_of: Callable[[Tensor], Digests | None] = lambda _: None,
    ) -> None:
        self._file = FileParts()  # Keeps the objects alive that the addresses refer to.
        self._file.add_archive(path, contents, must_be_finite, digests_of)
        self.size = self._file.size
        self.tensor_bytes = self._file.tensor_bytes
        self.names = self._file.names
        self.memory = sorted(self._file.memory)
        self.parts, self.patches = self._file.parts, self._file.patches

    @property
    def overlaps(self) -> bool:
        """Whether two tensors share memory."""
        ends = [start + size for start, size in self.memory]
        return any(end > start for end, (start, _) in zip(ends, self.memory[1:], strict=False))
