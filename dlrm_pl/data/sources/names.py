"""Names and types of the columns that a file or frame has, checked against those that are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlrm_pl.columns.columns import Columns, nearest_name
from dlrm_pl.data.sources.arrays.table import Labels
from dlrm_pl.data.sources.arrays.types import misfit
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import DataFormatError

if TYPE_CHECKING:
    import pyarrow as pa


def require_names(wanted: Sequence[str], given: Sequence[str], where: str) -> None:
    """Check that each wanted name is there once.

    Raises:
        DataFormatError: one is not; names it, and the nearest.
    """
    count = Counter(given)
    missing = [name for name in wanted if not count[name]]
    if missing:
        listed = ", ".join(map(shown_name, missing[:10])) + (f" and {len(missing) - 10} more" if missing[10:] else "")
        hint = "" if set(wanted) & set(given) else " Does it have a header with names?"
        raise DataFormatError(
            f"{where}: has no column {listed}. {_nearest(missing[0], given)}{hint} The names in the schema have to be "
            "those of the data."
        )
    twice = next((name for name in wanted if count[name] > 1), None)
    if twice is not None:
        raise DataFormatError(f"{where}: has {count[twice]} columns named {shown_name(twice)}. Rename all but one.")


def check_types(
    schema: pa.Schema, columns: Columns, where: str, labels: Labels = "needed", *, is_csv: bool = False
) -> None:
    """Check the types of the columns, each of which is there once.

    Raises:
        DataFormatError: a type does not fit a column; names both.
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


def _nearest(name: str, given: Sequence[str]) -> str:
    alike = next((other for other in given if other.strip().casefold() == name.casefold()), None)
    if alike is not None:
        return f"Did you mean {shown_name(alike)}?"
    return nearest_name(name, tuple(map(shown_name, given)))
