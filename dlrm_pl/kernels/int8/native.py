"""The C++ kernels, called with tensors. ``ops`` checks the shapes, and the kernels check the contents.

The op of the same name in ``ops`` describes each method.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.errors import LookupIndexError, ShapeError
from dlrm_pl.kernels.int8.failure import Failure
from dlrm_pl.kernels.int8.jobs import (
    BLOCK_ROWS,
    MLP,
    CrossArrays,
    TableArrays,
    cross_arrays,
    cross_job,
    interaction_job,
    layer_array,
    table_arrays,
    tables_job,
)
from dlrm_pl.kernels.int8.rows import TABLE_DTYPES, TableDtype

VERSION = 7

_POINTER, _LONG, _INT, _DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_double
_TABLE_ARGUMENTS = [_POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _LONG, _POINTER]
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "variant": (_POINTER, [_LONG]),
    "name": (ctypes.c_char_p, [_POINTER]),
    "threads": (_LONG, [_LONG]),
    "mlp": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG, _LONG, _POINTER]),
    "interaction": (_LONG, _TABLE_ARGUMENTS),
    "pooling": (_LONG, _TABLE_ARGUMENTS),
    "cross": (_LONG, [*_TABLE_ARGUMENTS[:6], _POINTER, _POINTER, _POINTER, _LONG, _POINTER]),
    "pack": (_LONG, [_POINTER, _POINTER, _LONG, _LONG, _INT, _POINTER, _LONG, _POINTER]),
    "peak": (_DOUBLE, [_POINTER, _LONG]),
    "touch": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _LONG, _POINTER]),
}
_KINDS: dict[int, Any] = {1: "index", 2: "not finite", 3: "offset"}
_NO_MEMORY, _REFUSED = -1, -2
Where = _LONG * 3


class NativeKernels:
    """One variant of the C++ kernels.

    Args:
        library: the loaded native library.
        variant: number of the variant, counted from the plainest.

    Raises:
        LookupError: this processor lacks the instructions that the variant needs.
    """

    def __init__(self, library: ctypes.CDLL, variant: int) -> None:
        functions = {}
        for name, (result, arguments) in _SIGNATURES.items():
            function = library[f"dlrm_int8_{name}"]
            function.restype, function.argtypes = result, arguments
            functions[name] = function
        self._functions = functions
        # The same functions, called without releasing the GIL.
        self._held = ctypes.PyDLL(library._name, handle=library._handle)
        self._variant = functions["variant"](variant)
        if not self._variant:
            raise LookupError(variant)
        self.isa: str = functions["name"](self._variant).decode()

    def mlp(
        self,
        x: Tensor,
        input_scales: Sequence[float],
        input_zero_points: Sequence[int],
        weights: Sequence[Tensor],
        multipliers: Sequence[Tensor],
        biases: Sequence[Tensor],
        widths: Sequence[int],
        lowest: Sequence[float],
        out: Tensor,
    ) -> Failure | None:
        """Run a chain of int8 and bf16 Linears."""
        layers = layer_array(weights, multipliers, biases, widths, lowest, input_scales, input_zero_points)
        return self.prepared_mlp(x, input_scales[0], input_zero_points[0], layers, len(weights), widths[0], out)

    def prepared_mlp(
        self,
        x: Tensor,
        input_scale: float,
        input_zero_point: int,
        layers: bytes,
        count: int,
        inputs: int,
        out: Tensor,
    ) -> Failure | None:
        """Run a chain of Linears whose ``layer_array`` was made before."""
        floats, bytes_ = (x.data_ptr(), 0) if x.dtype == torch.float32 else (0, x.data_ptr())
        job = MLP.pack(
            *(count, floats, bytes_, inputs, x.shape[1], 1.0 / input_scale, input_zero_point),
            *(out.data_ptr(), BLOCK_ROWS),
        )
        return self._call("mlp", job, layers, x.shape[0])

    def interaction(
        self,
        dense: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        tables: Sequence[Tensor],
        dtypes: Sequence[int],
        diagonal: bool,
        output_scale: float,
        output_zero_point: int,
        width: int,
        is_mean: Sequence[bool],
        out: Tensor,
    ) -> Failure | None:
        """Look up all tables and take every pairwise dot product in one pass."""
        arrays, count = table_arrays(tables, dtypes, is_mean), len(tables)
        return self.prepared_interaction(
            dense, indices, offsets, arrays, count, diagonal, output_scale, output_zero_point, width, out
        )

    def prepared_interaction(
        self,
        dense: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        arrays: TableArrays,
        count: int,
        diagonal: bool,
        output_scale: float,
        output_zero_point: int,
        width: int,
        out: Tensor,
    ) -> Failure | None:
        """Do the same with tables whose ``table_arrays`` were made before."""
        batch, dim = dense.shape
        job = tables_job(count, dim, indices, offsets, batch)
        job += interaction_job(dense, diagonal, output_scale, output_zero_point, width, out)
        return self._call("interaction", job, *arrays)

    def pooling(
        self,
        indices: Tensor,
        offsets: Tensor | None,
        tables: Sequence[Tensor],
        dtypes: Sequence[int],
        is_mean: Sequence[bool],
        out: Tensor,
    ) -> Failure | None:
        """Sum or average the rows of each bag in float32."""
        batch, _, dim = out.shape
        job = tables_job(len(tables), dim, indices, offsets, batch) + struct.pack("P", out.data_ptr())
        return self._call("pooling", job, *table_arrays(tables, dtypes, is_mean))

    def cross(
        self,
        dense: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        tables: Sequence[Tensor],
        dtypes: Sequence[int],
        input_scales: Sequence[float],
        input_zero_points: Sequence[int],
        weights: Sequence[Tensor],
        multipliers: Sequence[Tensor],
        biases: Sequence[Tensor],
        rank: int,
        output_scale: float,
        output_zero_point: int,
        is_mean: Sequence[bool],
        out: Tensor,
    ) -> Failure | None:
        """Look up all tables and run the cross network on the vectors side by side."""
        width = (len(tables) + 1) * dense.shape[1]
        layers = cross_arrays(input_scales, input_zero_points, weights, multipliers, biases, rank, width)
        arrays, count = table_arrays(tables, dtypes, is_mean), len(tables)
        return self.prepared_cross(
            dense, indices, offsets, arrays, count, layers, len(input_scales), output_scale, output_zero_point, out
        )

    def prepared_cross(
        self,
        dense: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        arrays: TableArrays,
        count: int,
        layers: CrossArrays,
        num_layers: int,
        output_scale: float,
        output_zero_point: int,
        out: Tensor,
    ) -> Failure | None:
        """Do the same with tables and layers whose ``table_arrays`` and ``cross_arrays`` were made before."""
        batch, dim = dense.shape
        job = tables_job(count, dim, indices, offsets, batch)
        job += cross_job(dense, num_layers, output_scale, output_zero_point, out)
        return self._call("cross", job, *arrays, *layers)

    def pack(self, values: Tensor, dtype: TableDtype, out: Tensor) -> Failure | None:
        """Pack float rows as int8 or int4."""
        rows, dim = values.shape
        return self._call("pack", values.data_ptr(), rows, dim, TABLE_DTYPES.index(dtype), out.data_ptr())

    def int8_peak(self, repeats: int) -> float:
        """Do integer products that need no memory, for ``benchmarks/ceilings.py``.

        Args:
            repeats: number of repetitions, 0 or more.

        Returns:
            Number of operations done; a product and its addition to a sum count as two.

        Raises:
            ShapeError: ``repeats`` is negative.
        """
        operations = float(self._functions["peak"](self._variant, repeats))
        if operations < 0:
            raise ShapeError(f"{repeats} repeats: at least 0 are needed.")
        return operations

    def touch(self, rows: Tensor, indices: Tensor) -> None:
        """Read uint8 rows as a lookup does and do nothing with them, for ``benchmarks/ceilings.py``.

        Args:
            rows: uint8 ``[rows, bytes]``.
            indices: int64 ``[L]``, the rows to read.

        Raises:
            LookupIndexError: an index is outside the rows.
            ShapeError: the tensors are not contiguous uint8 ``[rows, bytes]`` and int64 ``[L]``.
        """
        fits = rows.dtype == torch.uint8 and rows.dim() == 2 and indices.dtype == torch.int64 and indices.dim() == 1
        if not fits or not rows.is_contiguous() or not indices.is_contiguous():
            raise ShapeError(
                f"Contiguous uint8 rows [rows, bytes] and int64 indices [L] are needed, got {rows.dtype} "
                f"{list(rows.shape)} and {indices.dtype} {list(indices.shape)}."
            )
        where = Where()
        arguments = rows.data_ptr(), *rows.shape, indices.data_ptr(), indices.numel()
        failure = _failure("touch", self._functions["touch"](*arguments, where), where)
        if failure is not None:
            raise LookupIndexError(
                f"lookup {failure.sample}: row {failure.value} was asked for, which has rows 0 to {len(rows) - 1}."
            )

    def function(self, name: str) -> tuple[Any, int]:
        """Return a kernel's function and the address of the variant, its first argument, for calls of microseconds.

        Such a call does not release the GIL: the caller would have to wait for it again afterwards, for longer than the
        call takes if another thread computes.
        """
        function = self._held[f"dlrm_int8_{name}"]
        function.restype, function.argtypes = _SIGNATURES[name]
        return function, self._variant

    def _call(self, name: str, *arguments: Any) -> Failure | None:
        where = Where()
        kind = self._functions[name](self._variant, *arguments, torch.get_num_threads(), where)
        return _failure(name, kind, where)


def _failure(name: str, kind: int, where: Any) -> Failure | None:
    """Turn the return value of a kernel into a failure, or into an error of the caller."""
    if kind == _REFUSED:
        reason = ctypes.string_at(where[0]).decode()
        raise ShapeError(f"The int8 kernel {name} was called with arguments that do not fit together: {reason}.")
    if kind == _NO_MEMORY:
        raise MemoryError(f"the int8 kernel {name}")
    return None if kind == 0 else Failure(_KINDS[kind], *where)
