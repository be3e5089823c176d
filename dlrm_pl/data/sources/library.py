"""The library that reads files and frames. It is an extra, so it is imported when it is needed."""

from __future__ import annotations

from typing import Any

from dlrm_pl.errors import ConfigurationError


def arrow() -> Any:
    """Return ``pyarrow``, with its modules for computing, CSV and Parquet.

    Raises:
        ConfigurationError: it is not installed; says how to install it.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigurationError(
            f"CSV, Parquet and Arrow files, and frames, need pyarrow ({error}). Install it: "
            'pip install "dlrm-pl[frames]".'
        ) from None
    return pyarrow
