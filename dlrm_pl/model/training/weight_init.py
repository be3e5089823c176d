"""Modules that are made without initial weights, since a checkpoint brings them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_skip_weight_init: ContextVar[bool] = ContextVar("skip_weight_init", default=False)


@contextmanager
def skip_weight_init() -> Iterator[None]:
    """Make modules without initial weights inside a ``with`` block, for checkpoints of 100 GB that are loaded next.

    Until then the model lies on the meta device, and takes no memory and no time.
    """
    token = _skip_weight_init.set(True)
    try:
        yield
    finally:
        _skip_weight_init.reset(token)


def skips_weight_init() -> bool:
    """Whether a ``skip_weight_init`` block is being run."""
    return _skip_weight_init.get()
