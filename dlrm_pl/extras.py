"""Packages that only some things need, which are installed with an extra of this one."""

from __future__ import annotations

from dlrm_pl.errors import ConfigurationError


def missing_extra(what: str, extra: str, error: ImportError) -> ConfigurationError:
    """Return the error for packages that are not installed.

    Args:
        what: what needs which packages, as the beginning of a sentence.
        extra: name of the extra that installs them.
        error: what the import said.
    """
    return ConfigurationError(f'{what} ({error}). Install it: pip install "dlrm-pl[{extra}]".')
