"""An int8 model whose kernels are called without torch's dispatcher.

A batch of one row takes a third of its time in the kernels. The rest goes to torch, which converts lists of tensors for
each op, and to checks of tensors that are the same in every call. A server, whose requests are of few rows, calls the
kernels with what was checked and converted once, and for a few rows without asking for memory. They are the same
kernels, so they give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8.checks import interaction_width, raise_failure
from dlrm_pl.kernels.int8.few_rows import FewRows, few_rows_interaction, few_rows_mlp
from dlrm_pl.kernels.int8.native import NativeKernels, layer_array, table_arrays
from dlrm_pl.kernels.int8.rows import BLOCK_IN, round_up
from dlrm_pl.kernels.int8.selection import kernels, kernels_of
from dlrm_pl.model.dlrm import clamp_logits
from dlrm_pl.runtime.int8_dlrm import BLOCK_ROWS, Int8DLRM
from dlrm_pl.runtime.linear import Int8Chain

Floats = npt.NDArray[np.float32]

FEW_ROWS = 64
"""Rows that ``DirectModel.few`` takes at most."""

# Up to here the tiles of AMX, which have 16 rows, are so empty that vectors are a tenth faster.
_FEWEST_ROWS = 2


@dataclass(frozen=True)
class _Chain:
    """A chain of Linears as the kernels take it."""

    chain: Int8Chain
    layers: bytes
    count: int
    inputs: int
    outputs: int

    @classmethod
    def of(cls, chain: Int8Chain) -> Self:
        weights, multipliers, biases, widths, lowest = chain.kernel_arguments
        layers = layer_array(weights, multipliers, biases, widths, lowest)
        return cls(chain, layers, len(weights), widths[0], widths[-1])

    def prepared(self, native: NativeKernels, is_float: bool, out: Tensor) -> FewRows:
        scale, zero_point = self.chain.input_scale, self.chain.input_zero_point
        return few_rows_mlp(native, self.layers, self.count, self.inputs, scale, zero_point, is_float, out)

    def run(self, native: NativeKernels, x: Tensor) -> Tensor:
        out = torch.empty(x.shape[0], self.outputs)
        chain = self.chain
        failure = native.prepared_mlp(
            x, chain.input_scale, chain.input_zero_point, self.layers, self.count, self.inputs, out
        )
        raise_failure(failure)
        return out


class DirectModel:
    """Calls the kernels of a model; ``of`` says whether that is possible.

    Args:
        model: model of int8 layers alone; its tensors must stay where they are.
        native: the kernels.
        bottom: chain of the bottom MLP.
        top: chain of the top MLP.
    """

    def __init__(self, model: Int8DLRM, native: NativeKernels, bottom: Int8Chain, top: Int8Chain) -> None:
        self._model = model
        self._native = native
        self._bottom, self._top = _Chain.of(bottom), _Chain.of(top)
        shape = model.architecture
        self._tables = model.tables.all()
        self._arrays = table_arrays(self._tables, model.tables.codes, model.tables.is_mean)
        self._width = interaction_width(shape.num_tables, shape.embedding_dim, shape.self_interaction)
        self._num_dense = shape.bottom_mlp[0]
        self._prepare()

    def _prepare(self) -> None:
        """Prepare the calls for a few rows, and the memory between them."""
        dim = self._model.architecture.embedding_dim
        # The prepared calls have addresses alone, so the memory is kept here.
        self._vectors = torch.empty(FEW_ROWS, dim)
        self._products = torch.empty(FEW_ROWS, round_up(self._width, BLOCK_IN), dtype=torch.uint8)
        self._logits, self._probabilities = torch.zeros(FEW_ROWS), torch.zeros(FEW_ROWS)
        self._results = self._logits.numpy(), self._probabilities.numpy()
        self._calls = self._prepared(self._native)
        vectors = kernels_of("avx512_vnni") if self._native.isa == "amx_int8" else self._native
        assert isinstance(vectors, NativeKernels)
        self._fewest_calls = self._prepared(vectors)
        self._in_use = Lock()

    def _prepared(self, native: NativeKernels) -> tuple[FewRows, FewRows, FewRows]:
        """Return the bottom MLP, the interaction and the top MLP."""
        diagonal, chain = self._model.architecture.self_interaction, self._top.chain
        interaction = few_rows_interaction(
            *(native, self._vectors, self._arrays, len(self._tables), diagonal),
            *(chain.input_scale, chain.input_zero_point, self._width, self._products),
        )
        bottom = self._bottom.prepared(native, True, self._vectors)
        return bottom, interaction, self._top.prepared(native, False, self._logits)

    @classmethod
    def of(cls, model: Int8DLRM) -> Self | None:
        """Return the model in this form; None if a part of it is not int8, or no native code was built."""
        native = kernels()
        bottom, top = model.chains
        if model.interaction != "int8" or bottom is None or top is None or not isinstance(native, NativeKernels):
            return None
        return cls(model, native, bottom, top)

    def __call__(self, batch: ClickBatch) -> Tensor:
        """Return the logits of a batch, as the model does.

        Raises:
            LookupIndexError: an index outside its table.
            NonFiniteError: a value is NaN or infinite.
            ShapeError: the batch is not one of this model.
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
        products = torch.empty(rows, round_up(self._width, BLOCK_IN), dtype=torch.uint8)
        top = self._top.chain
        failure = self._native.prepared_interaction(
            *(vectors, indices, None, self._arrays, tables, self._model.architecture.self_interaction),
            *(top.input_scale, top.input_zero_point, self._width, products),
        )
        raise_failure(failure, self._tables)
        return clamp_logits(self._top.run(self._native, products).view(-1), self._model.architecture.loss_threshold)

    def few(self, batch: ClickBatch) -> tuple[Floats, Floats] | None:
        """Return the logits and probabilities of a few one-hot rows.

        Returns:
            Both, float32 ``[B]``; None: the rows have to go the usual way, since they are no such rows, another thread
            is here at the moment, or there is an error, which is told there.
        """
        dense, indices, offsets, _ = batch
        rows = len(dense)
        if (
            not 0 < rows <= FEW_ROWS
            or offsets is not None
            or self._model.architecture.loss_threshold
            or (dense.dtype, indices.dtype) != (torch.float32, torch.int64)
            or (dense.shape, indices.shape) != ((rows, self._num_dense), (len(self._tables), rows))
            or not (dense.is_contiguous() and indices.is_contiguous())
            or not self._in_use.acquire(blocking=False)
        ):
            return None
        try:
            bottom, interaction, top = self._fewest_calls if rows <= _FEWEST_ROWS else self._calls
            well = bottom(dense.data_ptr(), rows) and interaction(indices.data_ptr(), rows)
            if not well or not top(self._products.data_ptr(), rows):
                return None
            # All that there is room for, as in probabilities_of: the bits of a value depend on its place in a vector.
            torch.sigmoid(self._logits, out=self._probabilities)
            logits, probabilities = self._results
            return logits[:rows].copy(), probabilities[:rows].copy()
        finally:
            self._in_use.release()
