"""An int8 model whose kernels are called without torch's dispatcher.

For a batch of one row, only a third of the time is spent in the kernels. The rest goes to torch, which converts lists
of tensors for each op, and to checks of tensors that are the same in every call. A server or a ``Predictor``, whose
requests have few rows, calls the kernels with arguments that were checked and converted once, and for a few rows
without allocating memory. They are the same kernels, so they give the same bits.
"""

from __future__ import annotations

from threading import Lock
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8.checks import raise_failure
from dlrm_pl.kernels.int8.few_rows import FewLookups, FewRows
from dlrm_pl.kernels.int8.native import NativeKernels
from dlrm_pl.kernels.int8.rows import BLOCK_IN, round_up
from dlrm_pl.kernels.int8.selection import kernels, kernels_of
from dlrm_pl.model.dlrm import clamp_logits
from dlrm_pl.runtime.direct_parts import DirectChain, DirectLookups, direct_lookups
from dlrm_pl.runtime.int8_dlrm import BLOCK_ROWS, Int8DLRM
from dlrm_pl.runtime.linear import LinearChain

Floats = npt.NDArray[np.float32]

FEW_ROWS = 64
"""Maximum number of rows that ``DirectModel.few`` takes."""

# One thread computes these few rows and holds the GIL meanwhile, so a larger model gets fewer rows: those that make as
# many products as 64 rows of MLPerf's first model, which has 2.4 million per row, or 10 of its second.
_FEW_PRODUCTS = FEW_ROWS * 2_600_000
# The maximum number of lookups in bags, whose rows are read from memory.
_FEW_LOOKUPS = 4096

# From this many rows on, threads share the rows of an MLP, see LEAST_ROWS in int8.cpp.
_FEWEST_SHARED_ROWS = 16

# Up to this many rows, the tiles of AMX, which have 16 rows, are so empty that vector instructions are a tenth faster.
_FEWEST_ROWS = 2


class DirectModel:
    """Calls the kernels of a model directly; ``of`` decides whether that is possible.

    Args:
        model: model with only int8 and bf16 layers; its tensors must stay at their addresses.
        native: the kernels.
        bottom: chain of the bottom MLP.
        lookups: lookups and the processing that follows them.
        top: chain of the top MLP.

    Attributes:
        few_rows: maximum number of rows that ``few`` takes.
    """

    def __init__(
        self, model: Int8DLRM, native: NativeKernels, bottom: LinearChain, lookups: DirectLookups, top: LinearChain
    ) -> None:
        self._model = model
        self._native = native
        self._bottom, self._top = DirectChain.of(bottom), DirectChain.of(top)
        self._lookups = lookups
        self._tables = model.tables.all()
        self._stride = round_up(lookups.width, BLOCK_IN)
        self._num_dense = model.architecture.bottom_mlp[0]
        products = self._bottom.products + lookups.products + self._top.products
        self.few_rows = max(1, min(FEW_ROWS, _FEW_PRODUCTS // products))
        self._prepare()

    def _prepare(self) -> None:
        """Prepare the calls for a few rows, and the memory between them."""
        # The prepared calls only hold addresses, so the memory is kept alive here. Tensors made in inference mode could
        # not be written outside it.
        with torch.inference_mode(False):
            self._vectors = torch.empty(self.few_rows, self._model.architecture.embedding_dim)
            self._products = torch.empty(self.few_rows, self._stride, dtype=torch.uint8)
            # As many as in probabilities_of, see `few`.
            self._logits, self._probabilities = torch.zeros(FEW_ROWS), torch.zeros(FEW_ROWS)
        self._results = self._logits.numpy(), self._probabilities.numpy()
        self._calls = self._prepared(self._native)
        vectors = kernels_of("avx512_vnni") if self._native.isa == "amx_int8" else self._native
        assert isinstance(vectors, NativeKernels)
        self._fewest_calls = self._prepared(vectors)
        self._in_use = Lock()

    def _prepared(self, native: NativeKernels) -> tuple[FewRows, FewLookups, FewRows]:
        """Return the bottom MLP, the lookups and the top MLP."""
        bottom = self._bottom.prepared(native, True, self._vectors)
        lookups = self._lookups.prepared(native, self._vectors, self._products)
        return bottom, lookups, self._top.prepared(native, False, self._logits)

    @classmethod
    def of(cls, model: Int8DLRM) -> Self | None:
        """Return the model in this form; None if a part is fp32, the top MLP reads floats, or C++ code is missing."""
        native = kernels()
        bottom, top = model.chains
        if bottom is None or top is None or not top.reads_bytes or not isinstance(native, NativeKernels):
            return None
        lookups = direct_lookups(model, top)
        return None if lookups is None else cls(model, native, bottom, lookups, top)

    def __call__(self, batch: ClickBatch) -> Tensor:
        """Return the logits of a batch, as the model does.

        Raises:
            LookupIndexError: an index is outside its table.
            NonFiniteError: a value is NaN or infinite.
            ShapeError: the batch does not fit this model.
        """
        dense, indices, offsets, _ = batch
        rows, tables = dense.shape[0], len(self._tables)
        if rows > BLOCK_ROWS or offsets is not None or not dense.is_contiguous() or not indices.is_contiguous():
            logits: Tensor = self._model(batch)
            return logits
        if dense.dtype != torch.float32 or dense.shape[1:] != (self._num_dense,):
            raise ShapeError(f"The model takes float32 dense features [B, {self._num_dense}], got {list(dense.shape)}.")
        if indices.dtype != torch.int64 or indices.shape != (tables, rows):
            raise ShapeError(f"The model takes int64 indices [{tables}, {rows}], got {list(indices.shape)}.")
        vectors = self._bottom.run(self._native, dense)
        products = torch.empty(rows, self._stride, dtype=torch.uint8)
        raise_failure(self._lookups.run(self._native, vectors, indices, products), self._tables)
        return clamp_logits(self._top.run(self._native, products).view(-1), self._model.architecture.loss_threshold)

    def logits(self, batch: ClickBatch) -> Tensor:
        """Return the logits of a batch; for a few rows by ``few``, which does not release the Python lock.

        Raises:
            DLRMError: see the call of this object.
        """
        # `few` computes them in one thread, so it takes fewer where other threads would help.
        most = self.few_rows if torch.get_num_threads() == 1 else min(self.few_rows, _FEWEST_SHARED_ROWS - 1)
        if len(batch.dense) <= most and (found := self.few(batch)) is not None:
            return torch.from_numpy(found[0])
        return self(batch)

    def few(self, batch: ClickBatch) -> tuple[Floats, Floats] | None:
        """Return the logits and probabilities of a few rows, one-hot or with bags.

        Returns:
            Both, float32 ``[B]``; None: the rows have to take the usual path, because they do not qualify, another
            thread is in this method at the moment, or there is an error, which the usual path reports.
        """
        dense, indices, offsets, _ = batch
        rows = len(dense)
        if (
            not 0 < rows <= self.few_rows
            or self._model.architecture.loss_threshold
            or (dense.dtype, indices.dtype) != (torch.float32, torch.int64)
            or dense.shape != (rows, self._num_dense)
            or not self._are_few(indices, offsets, rows)
            or not (dense.is_contiguous() and indices.is_contiguous())
            or not self._in_use.acquire(blocking=False)
        ):
            return None
        try:
            bottom, lookups, top = self._fewest_calls if rows <= _FEWEST_ROWS else self._calls
            starts = 0 if offsets is None else offsets.data_ptr()
            well = bottom(dense.data_ptr(), rows) and lookups(indices.data_ptr(), starts, rows, indices.numel())
            if not well or not top(self._products.data_ptr(), rows):
                return None
            # Compute all that there is room for, as in probabilities_of: the bits of a value depend on its place in a
            # vector.
            torch.sigmoid(self._logits, out=self._probabilities)
            logits, probabilities = self._results
            return logits[:rows].copy(), probabilities[:rows].copy()
        finally:
            self._in_use.release()

    def _are_few(self, indices: Tensor, offsets: Tensor | None, rows: int) -> bool:
        """Tell whether ids have the shape of rows, and are few."""
        tables = len(self._tables)
        if offsets is None:
            return indices.shape == (tables, rows)
        return (
            indices.dim() == 1
            and len(indices) <= _FEW_LOOKUPS
            and offsets.dtype == torch.int64
            and offsets.shape == (tables * rows + 1,)
            and offsets.is_contiguous()
        )
