"""Optional packages, which are installed with an extra of this one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dlrm_pl.errors import ConfigurationError

FBGEMM = {"2.13": "1.8.0", "2.14": "1.9.0"}
"""Version of FBGEMM for each version of torch that its library was linked with."""


def missing_extra(what: str, extra: str, error: ImportError) -> ConfigurationError:
    """Return the error for packages that are not installed.

    Args:
        what: beginning of a sentence that says what needs which packages.
        extra: name of the extra that installs them.
        error: error that the import raised.
    """
    return ConfigurationError(f'{what} ({error}). Install it: pip install "dlrm-pl[{extra}]".')


@contextmanager
def quiet_optuna(optuna: Any) -> Iterator[None]:
    """Silence Optuna's own log lines, and its warnings about experimental features.

    Its log warns about settings that are sampled independently, which the conditions of a search space cause.

    Args:
        optuna: the module, which only code that uses it imports.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def require_fbgemm() -> None:
    """Check that FBGEMM is installed in the version that fits torch, on which it depends, so that no extra can name it.

    Raises:
        ConfigurationError: FBGEMM is not installed, or its version does not fit torch.
    """
    torch = installed_version("torch")
    fitting = FBGEMM.get(minor(torch))
    if fitting is None:
        raise ConfigurationError(f"FBGEMM: no version for torch {minor(torch)} is known.")
    install = f"Run `make sharded`, or `pip install --no-deps fbgemm-gpu-cpu=={fitting}`"
    found = installed_version("fbgemm-gpu-cpu", "fbgemm-gpu")
    if not found:
        raise ConfigurationError(f"FBGEMM is not installed. {install}.")
    if minor(found) != minor(fitting):
        raise ConfigurationError(
            f"torch {minor(torch)} needs FBGEMM {minor(fitting)}, but {found} is installed. {install}."
        )


def installed_version(*names: str) -> str:
    """Return the version of the first of some packages that is installed; "" if none is."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def minor(version: str) -> str:
    """Return the first two numbers of a version.

    Example:
        >>> minor("2.13.0+cpu")
        '2.13'
    """
    return ".".join(version.split(".")[:2])
