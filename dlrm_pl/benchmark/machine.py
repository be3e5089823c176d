"""What is known of the machine and of the int8 kernels on it. The kernels are optional: so is each answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

_KERNELS = "dlrm_pl.kernels.int8"


def kernel_isa() -> str | None:
    """Instruction set that the int8 kernels use; None where torch's own ops do the work."""
    isa = _kernel_function("isa")
    return None if isa is None else str(isa())


def ceilings() -> Mapping[str, float] | None:
    """Measured limits of one thread, ``int8_ops_per_s`` and ``rows_per_s``; None where nothing measures them."""
    measure = _kernel_function("ceilings")
    return None if measure is None else measure()


def _kernel_function(name: str) -> Callable[[], Any] | None:
    try:
        module = import_module(_KERNELS)
    except ImportError:
        return None
    return getattr(module, name, None)
