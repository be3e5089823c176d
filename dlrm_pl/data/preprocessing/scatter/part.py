"""A part of a log that a machine reads by itself, beside other machines that read other parts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LogPart:
    """One file of a log, and what comes before it.

    Attributes:
        file: number of the file.
        rows_before: rows of the files before it.
        kept_before: rows of training days that the sub-sample keeps of those.
    """

    file: int
    rows_before: int
    kept_before: int
