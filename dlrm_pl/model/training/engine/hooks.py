"""Find out which Lightning hooks are overridden, and by whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl

BATCH_HOOKS = ("on_train_batch_start", "on_train_batch_end")
"""Hooks around each training batch."""

_OURS = ("dlrm_pl", "pytorch_lightning")


def is_of_the_user(function: Any) -> bool:
    """Return whether a method or class belongs to neither this package nor Lightning."""
    module: Any = getattr(function, "__module__", None)
    return not isinstance(module, str) or module.split(".")[0] not in _OURS


def overridden(callback: pl.Callback, names: Iterable[str]) -> list[str]:
    """Return those of the hooks that a callback implements."""
    return [name for name in names if function_of(callback, name) is not getattr(pl.Callback, name)]


def function_of(callback: pl.Callback | type[pl.Callback], name: str) -> Any:
    """Return the function behind a hook, which all callbacks of a class share; return other callables unchanged."""
    hook = getattr(callback, name)
    return getattr(hook, "__func__", hook)
