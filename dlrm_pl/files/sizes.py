"""Format byte counts for messages."""

from __future__ import annotations

GIB = 1 << 30


def format_bytes(size_bytes: float) -> str:
    """Return a number of bytes in the largest fitting binary unit, with at most one decimal.

    Example:
        >>> format_bytes(512), format_bytes(1536), format_bytes(3 * GIB)
        ('512 bytes', '1.5 KiB', '3 GiB')
    """
    for unit, name in ((1 << 40, "TiB"), (GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:,.1f}".removesuffix(".0") + f" {name}"
    return f"{size_bytes:,.0f} bytes"
