"""Choose the native training step for this processor: the fastest, or the one that DLRM_PL_ISA allows."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Literal

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.int8.selection import ISAS
from dlrm_pl.kernels.library import EARLIER_ISAS, load_built

VERSION = 3

Precision = Literal["fp32", "bf16"]

_FOLDER = Path(__file__).parents[1]
# The int8 kernels by which DLRM_PL_ISA names a kind of processor -> number of the fastest training step for it. Number
# 2 is another one for AVX-512, with bfloat16 products. For aarch64 there is only plain C++.
_LEVELS = {"generic": 0, "avx2": 1, "avx_vnni": 1, "avx512_vnni": 3, "amx_int8": 4} | dict.fromkeys(
    ("neon", "neon_dotprod", "neon_i8mm"), 0
)


def library() -> ctypes.CDLL | None:
    """Return the native library; None if it was not built."""
    return load_built("training", VERSION, _FOLDER)


def levels(precision: Precision) -> dict[int, str]:
    """Return the numbers and names of the variants that run on this processor, from slowest to fastest."""
    return _levels(precision)


@cache
def _levels(precision: Precision) -> dict[int, str]:
    native = library()
    if native is None:
        return {}
    name_of = native.dlrm_training_isa
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.c_int64, ctypes.c_int64]
    names = {level: name_of(level, ("fp32", "bf16").index(precision)) for level in range(max(_LEVELS.values()) + 1)}
    return {level: name.decode() for level, name in names.items() if name is not None}


def level_in_use(precision: Precision) -> int | None:
    """Return the number of the fastest variant that DLRM_PL_ISA allows; None if none is, as with ``fallback``.

    Raises:
        ConfigurationError: DLRM_PL_ISA names kernels that do not exist.
    """
    asked = os.environ.get("DLRM_PL_ISA", "")
    asked = EARLIER_ISAS.get(asked, asked)
    if asked and asked not in ISAS:
        raise ConfigurationError(
            f"DLRM_PL_ISA={asked!r} must be one of {', '.join(ISAS)}. Unset it to use the fastest."
        )
    highest = _LEVELS.get(asked, -1) if asked else max(_LEVELS.values())
    return max((level for level in levels(precision) if level <= highest), default=None)


def training_isa(precision: Precision) -> str | None:
    """Return the name of the variant in use, such as ``avx512``; None if there is none.

    Example:
        >>> training_isa("fp32") in (None, *levels("fp32").values())
        True
    """
    level = level_in_use(precision)
    return None if level is None else levels(precision)[level]
