"""Native training step, which is called with tensors and updates them in place."""

from __future__ import annotations

import ctypes
import math
import struct
import weakref
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor

from dlrm_pl.batch_group import BatchGroup
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.kernels.training.selection import Precision, level_in_use, levels, library
from dlrm_pl.kernels.training.steps import StepFailure, StepOptions, Steps
from dlrm_pl.kernels.training.tensors import check_tensor
from dlrm_pl.kernels.training.weights import Rule, TrainedLayer, TrainedTable

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES: dict[str, list[Any]] = {
    "new": [_LONG, _LONG, _POINTER, _POINTER, _POINTER, _POINTER],
    "free": [_POINTER],
    "refresh": [_POINTER],
    "forget": [_POINTER],
    "bytes": [_POINTER, _LONG],
    "steps": [_POINTER, _POINTER, _POINTER, _LONG, ctypes.c_double, _LONG, _POINTER, _POINTER],
}
# The limits and structs of types.h.
MAX_TABLES, MAX_WIDTH, MAX_LAYERS = 4096, 1 << 20, 64
"""Maximum number of tables, of values in a vector, and of layers in each MLP and in the cross network."""
_NETWORK = struct.Struct("9qfi2f2i")
_BATCH = struct.Struct("4Pqqq")
_LOSSES = ("bce", "wbce", "mse")
_RULES: tuple[Rule, ...] = ("sgd", "adagrad", "rwsadagrad", "adam", "lamb")
_NO_MEMORY, _REFUSED = -1, -2
_KINDS: dict[int, Literal["index", "not finite", "offset"]] = {1: "index", 2: "not finite", 3: "offset"}


class NativeStep:
    """A training step in native code: forward, backward and update of all weights, in place.

    The same weights and batches give the same bits, with any number of threads. The tensors must stay at their
    addresses; if other code changes their values, call ``refresh``.

    Args:
        tables: embedding tables.
        bottom: Linears of the bottom MLP, each followed by a ReLU.
        top: Linears of the top MLP; a ReLU follows each but the last.
        cross: V, which has no bias, and W of each cross layer; they need concatenated vectors.
        precision: ``fp32``, or ``bf16``: bfloat16 products with float32 sums; weights stay float32.
        is_dot: whether vectors interact by dot products of all pairs instead of by concatenation.
        self_interaction: with dot products, include the product of each vector with itself.
        largest_logit: logits are clamped to plus and minus this; 0 is off.
        loss: ``bce``, ``wbce`` or ``mse``, as in ``click_loss``.
        class_weights: weights of a non-click and of a click, for ``wbce``.
        dense_rule: optimizer of MLPs and cross layers; any but rwsadagrad.
        table_rule: optimizer of the tables: sgd, adagrad or rwsadagrad.
        split_tables: read only the upper 16 bits of the tables' values, but update all 32.
        level: number of the variant, see ``levels``; None: the one in use.

    Attributes:
        isa: name of the instructions in use.

    Raises:
        ShapeError: a tensor has another type or shape than the others require.
        LookupError: there is no native step for this processor.
    """

    def __init__(
        self,
        tables: Sequence[TrainedTable],
        bottom: Sequence[TrainedLayer],
        top: Sequence[TrainedLayer],
        *,
        cross: Sequence[tuple[TrainedLayer, TrainedLayer]] = (),
        precision: Precision = "fp32",
        is_dot: bool = True,
        self_interaction: bool = False,
        largest_logit: float = 0.0,
        loss: Literal["bce", "wbce", "mse"] = "bce",
        class_weights: tuple[float, float] = (1.0, 1.0),
        dense_rule: Rule = "sgd",
        table_rule: Rule = "sgd",
        split_tables: bool = False,
        level: int | None = None,
    ) -> None:
        native = library()
        level = level_in_use(precision) if level is None else level
        if native is None or level is None or level not in levels(precision):
            raise LookupError(f"there is no native training step for {precision} here")
        self._functions = {name: _function(native, name, arguments) for name, arguments in _SIGNATURES.items()}
        self.isa = levels(precision)[level]
        dim = tables[0].rows.shape[-1]
        layers = [*bottom, *chain.from_iterable(cross), *top]
        for number, table in enumerate(tables):
            table.check(f"table {number}", dim, table_rule)
        for number, layer in enumerate(layers):
            layer.check(f"Linear {number}", dense_rule)
        self._inputs, self._num_tables = bottom[0].weight.shape[1], len(tables)
        self._kept = [tables, layers]  # Native code holds their addresses.
        network = _NETWORK.pack(
            *(self._inputs, dim, len(bottom), len(cross), len(top), len(tables)),
            *(is_dot, self_interaction, split_tables),
            *(largest_logit, _LOSSES.index(loss), *class_weights),
            *(_RULES.index(dense_rule), _RULES.index(table_rule)),
        )
        where = (_LONG * 4)()
        status = self._functions["new"](
            *(level, ("fp32", "bf16").index(precision), network),
            *(b"".join(layer.packed() for layer in layers), b"".join(table.packed() for table in tables), where),
        )
        _check_status(status, where)
        self._handle: int = where[0]
        self._release = weakref.finalize(self, self._functions["free"], self._handle)
        self._where = where
        self._found: Any = (ctypes.c_double * 2)()
        self._norm = 0.0

    def refresh(self) -> None:
        """Read the weights of MLPs and cross layers again after something else has changed them."""
        self._functions["refresh"](self._handle)

    def forget(self) -> None:
        """Drop the gradients of batches since the last update."""
        self._functions["forget"](self._handle)

    def workspace_bytes(self, batch_size: int) -> int:
        """Return the memory that a step needs in addition to the weights and the optimizer's state, in bytes."""
        return int(self._functions["bytes"](self._handle, batch_size))

    def step(
        self,
        dense: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        labels: Tensor,
        rates: Rates,
        table_rates: Rates,
        *,
        loss_scale: float = 1.0,
        first: bool = True,
        last: bool = True,
        largest_norm: float = 0.0,
        largest_value: float = 0.0,
        threads: int | None = None,
    ) -> float | StepFailure:
        """Train on a batch.

        Args:
            dense: dense features, float32 ``[B, N]``.
            indices: rows of the tables, int64: ``[T, B]``, or ``[L]`` with ``offsets``, as in ``ClickBatch``.
            offsets: None, or int64 ``[T * B + 1]``.
            labels: float32 ``[B]``.
            rates: numbers of the dense weights' optimizer for this step.
            table_rates: numbers of the tables' optimizer.
            loss_scale: factor of the mean loss: 1 / accumulated batches.
            first: start new gradients with this batch, instead of adding to those of the batches before.
            last: update the weights, instead of keeping the gradients for the next batch.
            largest_norm: scale all gradients together down to this norm; 0 is off.
            largest_value: clamp each gradient to this; 0 is off.
            threads: number of threads; None: as many as torch uses.

        Returns:
            The mean loss, or why nothing was trained.

        Raises:
            ShapeError: a tensor has another type or shape.
        """
        options = StepOptions(rates, table_rates, loss_scale, first, last, largest_norm, largest_value)
        batch = self.packed(dense, indices, offsets, labels)
        losses, failure = self.steps([batch], [options.packed()], threads=threads)
        return losses[0] if failure is None else failure

    def packed(self, dense: Tensor, indices: Tensor, offsets: Tensor | None, labels: Tensor) -> bytes:
        """Return a batch in the form that ``steps`` takes: the addresses of its tensors, which must outlive it.

        Args:
            dense: dense features, float32 ``[B, N]``.
            indices: rows of the tables, int64: ``[T, B]``, or ``[L]`` with ``offsets``, as in ``ClickBatch``.
            offsets: None, or int64 ``[T * B + 1]``.
            labels: float32 ``[B]``.

        Raises:
            ShapeError: a tensor has another type or shape.
        """
        size = len(labels)
        check_tensor("dense features", dense, torch.float32, (size, self._inputs))
        check_tensor("labels", labels, torch.float32, (size,))
        if offsets is None:
            shape = (self._num_tables, size)
            if indices.dtype != torch.int64 or indices.shape != shape or (size > 1 and indices.stride(1) != 1):
                raise ShapeError(f"indices must be int64 {list(shape)}, got {indices.dtype} {list(indices.shape)}.")
            stride = indices.stride(0) if len(indices) > 1 else size
        else:
            check_tensor("indices", indices, torch.int64, (indices.numel(),))
            check_tensor("offsets", offsets, torch.int64, (self._num_tables * size + 1,))
            stride = 0
        bags = 0 if offsets is None else offsets.data_ptr()
        return _BATCH.pack(
            *(dense.data_ptr(), indices.data_ptr(), bags, labels.data_ptr(), stride, indices.numel(), size)
        )

    def packed_group(self, group: BatchGroup) -> bytes | None:
        """Return what ``packed`` returns for each batch of a group, in order.

        Args:
            group: batches with samples, whose tensors must outlive what is returned.

        Returns:
            None if they do not meet the requirements of ``packed``, whose error says why.
        """
        fits = group.num_tables == self._num_tables and group.dense.shape[1] == self._inputs
        return group.addresses.tobytes() if fits and not group.has_empty else None

    def steps(
        self,
        batches: Sequence[bytes],
        options: Sequence[bytes],
        *,
        largest_loss: float = math.inf,
        threads: int | None = None,
    ) -> Steps:
        """Make several steps in one call, until one fails.

        Args:
            batches: what ``packed`` and ``packed_group`` returned for them.
            options: packed ``StepOptions`` of each batch.
            largest_loss: make no step after one with a larger mean loss.
            threads: number of threads; None: as many as torch uses.
        """
        count = len(options)
        if len(self._found) < 2 * count:
            self._found = (ctypes.c_double * (2 * count))()
        threads = torch.get_num_threads() if threads is None else threads
        packed = b"".join(batches)
        assert len(packed) == _BATCH.size * count
        status = self._functions["steps"](
            *(self._handle, packed, b"".join(options), count, largest_loss, threads),
            *(self._found, self._where),
        )
        if status < 0:
            _check_status(status, self._where)
        made = self._where[3]
        if made:
            self._norm = self._found[2 * made - 1]
        failure = StepFailure(_KINDS[status], *self._where[:3]) if status else None
        return Steps(self._found[: 2 * made : 2], failure)

    @property
    def gradient_norm(self) -> float:
        """Norm of all gradients together in the last step, before it was limited; 0 if no limit was given."""
        return self._norm


def _function(native: ctypes.CDLL, name: str, arguments: list[Any]) -> Any:
    function = native[f"dlrm_training_{name}"]
    function.restype, function.argtypes = _LONG, arguments
    return function


def _check_status(status: int, where: Any) -> None:
    if status == _REFUSED:
        reason = ctypes.string_at(where[0]).decode()
        raise ShapeError(f"The native training step was given arguments that do not fit together: {reason}.")
    if status == _NO_MEMORY:
        raise MemoryError("the native training step")
