"""Choose the kernels for this processor: the fastest variant that runs on it, or the one in DLRM_PL_ISA."""

from __future__ import annotations

import ctypes
import logging
import os
from functools import cache
from pathlib import Path

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.int8.fallback import FallbackKernels
from dlrm_pl.kernels.int8.native import VERSION, NativeKernels
from dlrm_pl.kernels.library import EARLIER_ISAS, load_built

log = logging.getLogger(__name__)

_FOLDER = Path(__file__).parents[1]

ISAS = (
    "fallback",
    "generic",
    *("avx2", "avx_vnni", "avx512_vnni", "amx_int8"),
    *("neon", "neon_dotprod", "neon_i8mm"),
)
"""Kernels from the slowest to the fastest: plain torch, C++ for any processor, for x86-64, for aarch64.

All give the same bits.
"""

Kernels = NativeKernels | FallbackKernels


def kernels() -> Kernels:
    """Return the kernels in use.

    Raises:
        ConfigurationError: DLRM_PL_ISA names kernels that do not exist or do not run here.
    """
    return kernels_of(os.environ.get("DLRM_PL_ISA", ""))


def isa() -> str:
    """Return the name of the kernels in use, one of ``ISAS``.

    Example:
        >>> isa() in available()
        True
    """
    return kernels().isa


@cache
def available() -> tuple[str, ...]:
    """Return the names of the kernels that were built and run on this processor, from slowest to fastest."""
    library = load_built("int8", VERSION, _FOLDER)
    return ("fallback",) if library is None else ("fallback", *(name for name in ISAS[1:] if _variant(library, name)))


@cache
def kernels_of(name: str) -> Kernels:
    """Return kernels by name; an empty name means the fastest.

    Raises:
        ConfigurationError: there are no kernels of that name, or they do not run on this processor.
    """
    if name in EARLIER_ISAS:
        log.warning(
            "DLRM_PL_ISA=%s is now called %s; the old name is accepted in this version only", name, EARLIER_ISAS[name]
        )
        return kernels_of(EARLIER_ISAS[name])
    if name and name not in ISAS:
        raise ConfigurationError(f"DLRM_PL_ISA={name!r} must be one of {', '.join(ISAS)}. Unset it to use the fastest.")
    name = name or available()[-1]
    if name not in available():
        raise ConfigurationError(
            f"DLRM_PL_ISA={name}: this processor and installation can only run {', '.join(available())}. Unset it to "
            "use the fastest of them."
        )
    library = load_built("int8", VERSION, _FOLDER) if name != "fallback" else None
    found = None if library is None else _variant(library, name)
    return FallbackKernels() if found is None else found


def _variant(library: ctypes.CDLL, name: str) -> NativeKernels | None:
    try:
        return NativeKernels(library, ISAS.index(name) - 1)
    except LookupError:
        return None
