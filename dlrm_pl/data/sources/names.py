"""Check the names and types of a file's or frame's columns against those that are needed."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.sources.arrays.table import Labels
from dlrm_pl.data.sources.arrays.types import misfit
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import DataFormatError

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 20
_MISSING_SHOWN = 8


def require_names(wanted: Sequence[str], given: Sequence[str], where: str, *, of_schema: bool = True) -> None:
    """Check that each required name occurs once.

    Args:
        wanted: names that are required.
        given: names that are present.
        where: file or frame that has the names; begins the message.
        of_schema: whether the required names come from a schema rather than from an option.

    Raises:
        DataFormatError: a name is missing or occurs twice; the message states it, the most similar name and all present
            names.
    """
    count = Counter(given)
    missing = [name for name in wanted if not count[name]]
    if missing:
        others = [name for name in given if name not in wanted]
        near = [(name, alike) for name in missing if (alike := _nearest(name, others)) is not None]
        if len(missing) == 1:
            hint = f" Did you mean {shown_name(near[0][1])}?" if near else ""
        else:
            pairs = [f"{shown_name(alike)} instead of {shown_name(name)}" for name, alike in near[:_SHOWN]]
            hint = f" Did you mean {', '.join(pairs)}?" if near else ""
        hint += f" There are {_listed(given)}." if given else " There are no columns."
        if of_schema:
            hint += "" if set(wanted) & set(given) else " Does it have a header with names?"
            hint += " The names in the schema must match those in the data."
        raise DataFormatError(
            f"{where}: has no column{'s'[: len(missing) != 1]} {_listed(missing, _MISSING_SHOWN)}.{hint}"
        )
    twice = next((name for name in wanted if count[name] > 1), None)
    if twice is not None:
        raise DataFormatError(f"{where}: has {count[twice]} columns named {shown_name(twice)}. Rename all but one.")


def check_types(
    schema: pa.Schema, columns: Columns, where: str, labels: Labels = "needed", *, is_csv: bool = False
) -> None:
    """Check the types of the columns, each of which occurs once.

    Raises:
        DataFormatError: a type does not fit a column; the message names both.
    """
    for column in (None, *columns.dense, *columns.sparse):
        if column is None and labels == "absent":
            continue
        name = columns.label if column is None else column.name
        if wrong := misfit(column, schema.field(name).type, is_csv=is_csv):
            raise DataFormatError(f"{where}: column {name}: {wrong}.")


def shown_name(name: str) -> str:
    """Return a name for a message, shortened and without control characters; quoted if it is not a plain word."""
    return name if name.isprintable() and 0 < len(name) <= 60 and name == name.strip() else shown(name)


def _listed(names: Sequence[str], most: int = _SHOWN) -> str:
    return ", ".join(map(shown_name, names[:most])) + (f" and {len(names) - most} more" if names[most:] else "")


def _nearest(name: str, others: Sequence[str]) -> str | None:
    """Return the name that may have been meant, if one is similar, ignoring case."""
    folded = {other.strip().casefold(): other for other in reversed(others)}
    near = difflib.get_close_matches(name.casefold(), folded, 1, 0.6)
    return folded[near[0]] if near else None
