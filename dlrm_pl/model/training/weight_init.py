"""Modules made without initial weights, which a checkpoint brings, or which are drawn where they will be stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_skip_weight_init: ContextVar[bool] = ContextVar("skip_weight_init", default=False)
_weights_on_shards: ContextVar[bool] = ContextVar("weights_on_shards", default=False)


@contextmanager
def skip_weight_init() -> Iterator[None]:
    """Make modules without initial weights inside a ``with`` block, for checkpoints of 100 GB that are loaded next.

    Until then, the model is on the meta device, and takes no memory and no time.
    """
    token = _skip_weight_init.set(True)
    try:
        yield
    finally:
        _skip_weight_init.reset(token)


def skips_weight_init() -> bool:
    """Return whether a ``skip_weight_init`` or ``weights_on_shards`` block is active."""
    return _skip_weight_init.get() or _weights_on_shards.get()


@contextmanager
def weights_on_shards() -> Iterator[None]:
    """Make modules without weights inside a ``with`` block, for ``ShardedStrategy``, which draws them.

    Each process then draws the same weights that a single process would have drawn, and keeps its part of the tables.

    Example:
        >>> from dlrm_pl import DLRMModule
        >>> from dlrm_pl.model.training.weight_init import weights_on_shards
        >>> with weights_on_shards():
        ...     module = DLRMModule(table_sizes=[10**9], bottom_mlp=[13, 16], top_mlp=[1])
    """
    token = _weights_on_shards.set(True)
    try:
        yield
    finally:
        _weights_on_shards.reset(token)


def draws_on_shards() -> bool:
    """Return whether a ``weights_on_shards`` block is active."""
    return _weights_on_shards.get()
