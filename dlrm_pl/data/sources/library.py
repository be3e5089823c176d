"""Library that reads files and frames. It is an extra, so it is imported only when needed."""

from __future__ import annotations

from typing import Any

from dlrm_pl.extras import missing_extra


def arrow() -> Any:
    """Return ``pyarrow``, with its modules for compute, CSV and Parquet.

    Raises:
        ConfigurationError: pyarrow is not installed; the message says how to install it.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("CSV, Parquet and Arrow files, and frames, need pyarrow", "frames", error) from None
    return pyarrow
