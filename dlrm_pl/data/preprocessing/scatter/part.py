"""A part of a log that one machine reads by itself while other machines read other parts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LogPart:
    """One file of a log, and what precedes it.

    Attributes:
        file: number of the file.
        rows_before: number of rows in the files before it.
        kept_before: number of training rows in the files before it that the subsample keeps.
    """

    file: int
    rows_before: int
    kept_before: int
