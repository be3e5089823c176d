"""Packages that only some things need, which are installed with an extra of this one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dlrm_pl.errors import ConfigurationError


def missing_extra(what: str, extra: str, error: ImportError) -> ConfigurationError:
    """Return the error for packages that are not installed.

    Args:
        what: what needs which packages, as the beginning of a sentence.
        extra: name of the extra that installs them.
        error: what the import said.
    """
    return ConfigurationError(f'{what} ({error}). Install it: pip install "dlrm-pl[{extra}]".')


@contextmanager
def quiet_optuna(optuna: Any) -> Iterator[None]:
    """Silence Optuna's own log lines, and its warnings about experimental features.

    Its log warns of settings that are drawn independently, which follows from the conditions of a space.

    Args:
        optuna: the module, which only those who use it import.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
