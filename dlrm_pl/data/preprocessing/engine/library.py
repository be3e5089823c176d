"""Library of this folder: signatures of its functions, and the errors for their statuses."""

from __future__ import annotations

import ctypes
from pathlib import Path

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.library import Signatures, declare, load

VERSION = 7

# Status codes that functions return instead of a result.
NO_MEMORY, STOPPED, REFUSED, REPEATED = -1, -2, -3, -4

_POINTER, _LONG, _ULONG, _UINT, _INT = (
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_uint64,
    ctypes.c_uint32,
    ctypes.c_int32,
)
_SIGNATURES: Signatures = {
    "dlrm_preprocess_refusal": (ctypes.c_char_p, []),
    "dlrm_parse": (
        _LONG,
        [_POINTER, _LONG, _UINT, _INT, _INT, _LONG, _LONG, _POINTER, _LONG, *[_POINTER] * 5, _LONG, _POINTER],
    ),
    "dlrm_table_new": (_POINTER, []),
    "dlrm_table_free": (None, [_POINTER]),
    "dlrm_table_size": (_LONG, [_POINTER]),
    "dlrm_table_bytes": (_LONG, [_POINTER]),
    "dlrm_table_read": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _POINTER]),
    "dlrm_table_restore": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG]),
    "dlrm_pipeline_new": (_POINTER, [_POINTER, _LONG]),
    "dlrm_pipeline_free": (None, [_POINTER]),
    "dlrm_pipeline_stop": (None, [_POINTER]),
    "dlrm_pipeline_number": (_LONG, [_POINTER, _LONG, _POINTER, _LONG, _LONG, _INT]),
    "dlrm_records": (_LONG, [_POINTER, _LONG, _LONG, _LONG, _POINTER]),
    "dlrm_scatter": (_LONG, [_POINTER, _LONG, _LONG, _LONG, _ULONG, _ULONG, _LONG, _POINTER, _POINTER]),
    "dlrm_append": (_LONG, [_POINTER, _POINTER, _LONG, _LONG, _POINTER, _LONG]),
    "dlrm_order": (_LONG, [_POINTER, _LONG, _LONG, _POINTER]),
    "dlrm_take": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _LONG, _POINTER]),
    "dlrm_swap": (_LONG, [_POINTER, _LONG, _POINTER, _LONG]),
    "dlrm_remap": (_LONG, [_POINTER, _LONG, _LONG, _LONG, _POINTER, _LONG]),
}


def library() -> ctypes.CDLL | None:
    """Return the library with its signatures declared, or None if it is missing and the NumPy fallback is used."""
    native = load("preprocess", VERSION, Path(__file__).parent)
    return None if native is None else declare(native, _SIGNATURES)


def check(native: ctypes.CDLL, status: int) -> None:
    """Raise the error for a status of the library."""
    if status == REFUSED:
        reason = native.dlrm_preprocess_refusal().decode()
        raise ShapeError(f"Native code was called with arguments that do not fit together: {reason}.")
    if status:
        raise MemoryError("a vocabulary table cannot grow: cap the tables with --max_ind_range, or use more memory")
