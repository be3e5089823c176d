"""A part of a log that one machine reads by itself while other machines read other parts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LogPart:
    """One file of a log, and what precedes it.

    Attributes:
        file: number of the file.
        rows_before: rows of the files before it.
        kept_before: rows of training days that the sub-sample keeps of those.
    """

    file: int
    rows_before: int
    kept_before: int
