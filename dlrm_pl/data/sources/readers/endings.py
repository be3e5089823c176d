"""Formats and compressions that file name endings state; separate, so that raw logs need not load the readers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Format = Literal["csv", "parquet", "arrow"]

ENDINGS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4", ".br": "brotli"}
"""File name endings, and the compression that each stands for."""

FORMAT_ENDINGS: dict[str, Format] = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".tab"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".arrows", ".feather", ".ipc"), "arrow"),
}
"""File name endings, and the format that each stands for."""


def stated_format(path: Path) -> Format | None:
    """Return the format that a file's name states, such as ``csv`` for ``day.csv.gz``; None if it states none."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in ENDINGS:
        endings.pop()
    return FORMAT_ENDINGS.get(endings[-1]) if endings else None


def row_place(path: Path, row: int) -> str:
    """Return the place of a row for a message: rows of a file are counted from 1, not counting a header.

    Args:
        path: the file.
        row: number of the row in the file, from 0.
    """
    return f"{path}: row {row + 1}{' after the header' if stated_format(path) == 'csv' else ''}"
