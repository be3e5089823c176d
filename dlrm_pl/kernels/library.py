"""Find a native library that was built at install time, or log once that it is missing."""

from __future__ import annotations

import ctypes
import importlib.machinery
import logging
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

Signatures = Mapping[str, tuple[Any, list[Any]]]
"""Type of the result and of the arguments of each function, by its name."""

log = logging.getLogger(__name__)

EARLIER_ISAS = {"twin": "fallback", "portable": "generic"}
"""Renamed values of DLRM_PL_ISA, and of ``isa`` in an artifact -> their current names."""


def load(name: str, version: int, folder: Path) -> ctypes.CDLL | None:
    """Load ``_NAME`` unless DLRM_PL_ISA selects the Python fallback."""
    return None if os.environ.get("DLRM_PL_ISA") in ("fallback", "twin") else load_built(name, version, folder)


@cache
def load_built(name: str, version: int, folder: Path) -> ctypes.CDLL | None:
    """Load ``_NAME`` from a folder of the package.

    Args:
        name: name of the library, such as ``int8``; it has a function ``dlrm_NAME_version``.
        version: version of the C interface that this Python code is written for.
        folder: folder of the package that the install put the library into.

    Returns:
        None if it was not built or has another version. The reason is logged once; everything works without the
        library, only slower.
    """
    # A checkout may also hold a library of an earlier version, whose file name states the Python version.
    paths = [folder / f"_{name}{suffix}" for suffix in (".so", *importlib.machinery.EXTENSION_SUFFIXES)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        log.warning("native %s code was not built (no C++ compiler at install time?); using the slower fallback", name)
        return None
    try:
        library = ctypes.CDLL(str(path))
        found = library[f"dlrm_{name}_version"]
        found.restype = ctypes.c_int64
        if found() == version:
            return library
        reason = f"has version {found()}, not {version}"
    except (OSError, AttributeError) as error:
        reason = str(error)
    log.warning("%s: %s; using the slower fallback. Run `pip install` again to rebuild it", path, reason)
    return None


def declare(native: ctypes.CDLL, signatures: Signatures) -> ctypes.CDLL:
    """Declare the functions of a library, once, and return the library."""
    declared = vars(native)
    for name, (result, arguments) in signatures.items():
        if name not in declared:
            function = native[name]
            function.restype, function.argtypes = result, arguments
            setattr(native, name, function)
    return native
