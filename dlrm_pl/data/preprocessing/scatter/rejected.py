"""Rows that cannot be used: they stop the run, or are left out, counted and recorded."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.sources.readers.endings import row_place
from dlrm_pl.errors import DataFormatError

# The share of bad rows is checked after this many rows, and at the end.
_ROWS_TO_JUDGE = 100_000
_SKIP = "Repair the log, or leave such {}s out: --bad_rows skip:0.001 allows one {} in a thousand."


class RejectedFile(Protocol):
    """The file of the rows that were left out."""

    def reject(self, row: bytes) -> None:
        """Append a row."""

    def rejected(self) -> Path:
        """Return its path."""


class RejectedRows:
    """Counts the rows that are left out, and stops the run if there are too many.

    Args:
        options: options of the run.
        state: state of the run; its counts are updated.
        files: object that writes the file of rejected rows.
        noun: word for a row of the log.
        hint: function that returns a sentence on what may be wrong with a file; empty if there is nothing to say.
    """

    def __init__(
        self,
        options: PreprocessOptions,
        state: State,
        files: RejectedFile,
        noun: str = "row",
        hint: Callable[[Path], str] = lambda path: "",
    ) -> None:
        self._allowed = options.bad_rows
        self._state = state
        self._files = files
        self._noun = noun
        self._hint = hint

    def add(self, path: Path, number: int, kind: str, reason: str, content: bytes) -> None:
        """Record a row that cannot be used.

        Args:
            path: file that contains the row.
            number: number of the row in the file, from 1.
            kind: kind of error, in one word.
            reason: description of the error for a message, with the row as its subject.
            content: content of the row to record.

        Raises:
            DataFormatError: the options do not allow leaving out rows.
        """
        if self._allowed is None:
            hint = self._hint(path) or _SKIP.format(self._noun, self._noun)
            raise DataFormatError(f"{self._place(path, number)}: {reason}. {hint}")
        self._state.rejected[kind] = self._state.rejected.get(kind, 0) + 1
        self._files.reject(f"{path}\t{number}\t{kind}\t".encode() + content + b"\n")

    def check(self, path: Path, *, at_end: bool = False) -> None:
        """Check that no more rows were left out than the user allows.

        Raises:
            DataFormatError: more rows were left out than allowed.
        """
        rejected = sum(self._state.rejected.values())
        rows = self._state.read_rows + rejected
        if not rejected or (not at_end and rows < _ROWS_TO_JUDGE):
            return
        allowed = self._allowed or 0.0
        if rejected > allowed * rows:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self._state.rejected.items())
            raise DataFormatError(
                f"{path}: {rejected:,} of {rows:,} {self._noun}s so far cannot be parsed ({kinds}), but bad_rows "
                f"allows only {allowed:.3%}. The first are {self._first()}. {self._hint(path)}".rstrip()
            )

    def _first(self) -> str:
        with self._files.rejected().open(encoding="utf-8", errors="replace") as handle:
            rows = [row.split("\t")[:3] for row in itertools.islice(handle, 3)]
        return ", ".join(f"{self._place(path, number)} ({kind})" for path, number, kind in rows)

    def _place(self, path: Path | str, number: int | str) -> str:
        return f"{path}:{number}" if self._noun == "line" else row_place(Path(path), int(number) - 1)
