"""The library of torch that holds the package's ops."""

from __future__ import annotations

# torch.library has no type annotations.
# mypy: disable-error-code="no-untyped-call"
from collections.abc import Callable
from typing import Any

import torch

_NAMESPACE = "dlrm_pl"
_LIBRARY = torch.library.Library(_NAMESPACE, "DEF")


def register(schema: str, function: Callable[..., Any], fake: Callable[..., Any]) -> str:
    """Register an op for CPUs, with a fake for tracers.

    Args:
        schema: name and arguments as torch writes them.
        function: computes the op.
        fake: returns a tensor of the result's shape and dtype, without computing it.

    Returns:
        Name of the op, as its schema in torch states it.
    """
    name = f"{_NAMESPACE}::{schema.partition('(')[0]}"
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, function, "CPU")
    torch.library.register_fake(name, fake, lib=_LIBRARY)
    return name
