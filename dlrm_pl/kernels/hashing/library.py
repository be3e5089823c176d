"""Native library of this folder."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from dlrm_pl.kernels.library import Signatures, declare, load

VERSION = 2

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES: Signatures = {
    "dlrm_hashing_variants": (_LONG, []),
    "dlrm_hashing_blocks": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _LONG, _LONG, _POINTER]),
    "dlrm_hashing_sha256": (_LONG, [_POINTER, _LONG, _LONG, _LONG, _POINTER, _LONG]),
}


@cache
def native() -> ctypes.CDLL | None:
    """Return the library; None if it was not built, or if DLRM_PL_ISA selects the fallback."""
    found = load("hashing", VERSION, Path(__file__).parents[1])
    return None if found is None else declare(found, _SIGNATURES)
