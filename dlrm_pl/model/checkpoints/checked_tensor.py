"""A stored tensor on its way to another file: as float32, with rows counted that hold NaN or infinity."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.stored import StoredTensor

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class CheckedTensor:
    """Float32 blocks of a stored tensor; a source for ``write_torch_file``.

    Args:
        name: of the parameter, for messages.
        stored: float32, or float16, bfloat16 or float64, which are converted.

    Raises:
        CheckpointError: another type.
    """

    dtype = torch.float32

    def __init__(self, name: str, stored: StoredTensor) -> None:
        if stored.dtype not in _FLOATS:
            raise CheckpointError(
                f"{name} has type {stored.dtype}, not a float type. A quantized model cannot be imported; give the "
                "float checkpoint."
            )
        self.name = name
        self.shape = stored.shape
        self.converted_from = None if stored.dtype is self.dtype else stored.dtype
        self.crc32 = None if self.converted_from else stored.crc32
        self.nonfinite_rows = 0  # Complete when all blocks were taken.
        self._stored = stored

    @property
    def nbytes(self) -> int:
        """As float32."""
        return 4 * self._stored.numel()

    def blocks(self) -> Iterator[Tensor]:
        """Rows as float32, in order; each block is used before the next is asked for.

        Raises:
            CheckpointError: the file is damaged; known at the beginning where whoever writes the blocks cannot tell.
        """
        self.nonfinite_rows = 0
        if self.crc32 is None:
            self._stored.check(self.name)
        for block in self._stored.blocks():
            values = block.to(self.dtype)
            # A sum shows NaN and infinity at the speed of memory; large finite values may do so too, hence the count.
            if not math.isfinite(values.sum().item()):
                self.nonfinite_rows += int((~torch.isfinite(values.reshape(len(values), -1))).any(dim=1).sum())
            yield values
