"""Properties of this machine that affect int8 results and speed."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.kernels.library import EARLIER_ISAS

_FEATURES = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
)


@cache
def cpu_features() -> tuple[str, ...]:
    """Return the processor's vector instructions, as Linux reports them; empty on other systems.

    Returns:
        Some of ``avx2``, ``avx_vnni``, ``avx512_vnni``, ``amx_int8``, ``i8mm`` and a few more.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            present = set(value.split())
            return tuple(feature for feature in _FEATURES if feature in present)
    return ()


def describe_machine() -> dict[str, Any]:
    """Return processor, features, kernels, versions and number of threads, as stated in certificates."""
    return {
        "processor": _processor_name(),
        "features": list(cpu_features()),
        "isa": isa(),
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "dlrm_pl": version("dlrm-pl"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def with_present_names(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Replace an earlier version's name for the kernels in the machine of a certificate."""
    return {name: EARLIER_ISAS.get(value, value) if name == "isa" else value for name, value in machine.items()}


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()
