"""Columns as plain values: in YAML, in ``dataset.json``, in checkpoints, artifacts and certificates.

Adjacent columns that differ only by a number in their names share one entry: ``I{1..4}`` stands for I1, I2, I3 and I4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.documents.fields import make
from dlrm_pl.errors import ConfigurationError, DLRMError

MOST_COLUMNS = 10_000
"""Maximum number of columns in a schema."""

_RANGE = re.compile(r"(?P<head>[^{}]*)\{(?P<first>[0-9]{1,9})\.\.(?P<last>[0-9]{1,9})\}(?P<tail>[^{}]*)")
_NUMBERED = re.compile(r"(?P<head>.*?)(?P<number>0|[1-9][0-9]{0,8})(?P<tail>[^0-9]*)", re.DOTALL)


class _WrongStatementError(DLRMError):
    """A value that is missing, unknown or of another type, with its place."""


@dataclass(frozen=True)
class _Stated:
    dense: tuple[DenseColumn, ...]
    sparse: tuple[SparseColumn, ...]
    label: str = "label"


def from_statement(
    values: Any, where: str, error: type[DLRMError], advice: str = ""
) -> tuple[str, tuple[DenseColumn, ...], tuple[SparseColumn, ...]]:
    """Return the label and the dense and sparse columns that plain values state.

    Args:
        values: values that ``to_statement`` returned or a YAML document contained.
        where: place that the values were read from; begins error messages.
        error: class of the error to raise.
        advice: sentence that says what to do; ends error messages.

    Raises:
        DLRMError: an ``error``: a value is missing, unknown, out of range or of the wrong type; the message names it.
    """
    try:
        stated = make(_Stated, values, where, _WrongStatementError, advice)
        dense = [replace(column, name=name) for column in stated.dense for name in _expanded(column.name)]
        sparse = [replace(column, name=name) for column in stated.sparse for name in _expanded(column.name)]
    except _WrongStatementError as wrong:
        raise error(str(wrong)) from None
    except ConfigurationError as wrong:
        raise error(f"{where}: {wrong} {advice}".rstrip()) from None
    return stated.label, tuple(dense), tuple(sparse)


def to_statement(label: str, dense: Sequence[DenseColumn], sparse: Sequence[SparseColumn]) -> dict[str, Any]:
    """Return columns as plain values, without default values, and with ranges of names."""
    return {"label": label, "dense": _compact(dense), "sparse": _compact(sparse)}


def is_range(name: str) -> bool:
    """Return whether a name has the form of a range, such as ``I{1..4}``."""
    return _RANGE.fullmatch(name) is not None


def _expanded(name: str) -> list[str]:
    match = _RANGE.fullmatch(name)
    if match is None:
        return [name]
    first, last = int(match["first"]), int(match["last"])
    if not first <= last < first + MOST_COLUMNS:
        raise ConfigurationError(f"{name} must count upwards, and name at most {MOST_COLUMNS:,} columns.")
    return [f"{match['head']}{number}{match['tail']}" for number in range(first, last + 1)]


def _compact(columns: Sequence[DenseColumn | SparseColumn]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    run: tuple[str, int, int, str] | None = None  # Head, first and last number, and tail of the last entry's names.
    for column in columns:
        entry = {
            field.name: value
            for field in fields(column)
            if (value := getattr(column, field.name)) != field.default
            or field.default is MISSING
            # These fields are written even if they have their defaults, so that readers need not look them up.
            or field.name in ("type", "transform", "kind", "ids")
        }
        match = _NUMBERED.fullmatch(column.name)
        number = int(match["number"]) if match else -1
        if match and run and entries[-1] | {"name": column.name} == entry and "{" not in column.name:
            head, first, last, tail = run
            if (match["head"], number, match["tail"]) == (head, last + 1, tail) and not _ends_in_digit(head):
                run = head, first, number, tail
                entries[-1]["name"] = f"{head}{{{first}..{number}}}{tail}"
                continue
        entries.append(entry)
        run = (match["head"], number, number, match["tail"]) if match else None
    return entries


def _ends_in_digit(head: str) -> bool:
    return bool(head) and head[-1].isdigit()
