"""Copy a stored tensor to another file as float32, and count the rows that hold NaN or infinity."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.file_tensor import FileTensor

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class CheckedTensor:
    """Float32 blocks of a stored tensor; a source for ``write_torch_file``.

    Args:
        name: name of the parameter, for error messages.
        stored: tensor of float32, or of float16, bfloat16 or float64, which are converted.
        factors: one number for each row, of any shape, that the row is multiplied by; None: no multiplication.
        columns: for each column, the index of the tensor's column that is moved there; None: columns stay where they
            are.

    Raises:
        CheckpointError: the tensor has another type, or the number of factors is not the number of rows.
    """

    dtype = torch.float32

    def __init__(
        self, name: str, stored: FileTensor, factors: FileTensor | None = None, columns: Tensor | None = None
    ) -> None:
        if stored.dtype not in _FLOATS:
            raise CheckpointError(
                f"{name} has type {stored.dtype}, which is not a float type. A quantized model cannot be imported; "
                "give the float checkpoint."
            )
        if factors is not None and factors.numel() != stored.shape[0]:
            raise CheckpointError(f"{name} has {stored.shape[0]} rows, but there are {factors.numel()} row weights.")
        self.name = name
        self.shape = stored.shape
        self.converted_from = None if stored.dtype is self.dtype else stored.dtype
        is_same = self.converted_from is None and factors is None and columns is None
        self.crc32 = stored.crc32 if is_same else None
        self.nonfinite_rows = 0  # Complete once all blocks were taken.
        self._stored, self._factors, self._columns = stored, factors, columns

    @property
    def nbytes(self) -> int:
        """Number of bytes as float32."""
        return 4 * self._stored.numel()

    def blocks(self) -> Iterator[Tensor]:
        """Yield rows as float32, in order; a block must be used before the next is requested.

        Raises:
            CheckpointError: the file is corrupt. If the writer of the blocks cannot check that, it is checked before
                the first block.
        """
        self.nonfinite_rows = 0
        if self.crc32 is None:
            self._stored.check(self.name)
        factors = None
        if self._factors is not None:
            self._factors.check(f"the row weights of {self.name}")
            factors = self._factors.read().to(self.dtype).reshape(-1, 1)
        done = 0
        for block in self._stored.blocks():
            values = block.to(self.dtype)
            if factors is not None:
                values = values * factors[done : done + len(values)]
                done += len(values)
            if self._columns is not None:
                values = values[:, self._columns]
            # A sum reveals NaN and infinity at memory speed. Large finite values may overflow too, so rows are then
            # counted.
            if not math.isfinite(values.sum().item()):
                self.nonfinite_rows += int((~torch.isfinite(values.reshape(len(values), -1))).any(dim=1).sum())
            yield values
