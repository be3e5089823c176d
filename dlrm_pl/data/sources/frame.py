"""Frames of pandas, polars and Arrow, and dictionaries of columns, as ``RawRows``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import RawRows
from dlrm_pl.data.sources.arrays.table import Labels, convert
from dlrm_pl.data.sources.arrays.types import one_array
from dlrm_pl.data.sources.bad_rows import Faults
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.names import check_types, require_names, shown_name
from dlrm_pl.documents.fields import printable, shown
from dlrm_pl.errors import DataFormatError

if TYPE_CHECKING:
    import pyarrow as pa


def rows_of_frame(
    frame: Any, columns: Columns, *, labels: Labels = "optional", truncate_lists: bool = False
) -> RawRows:
    """Return the rows of a frame, without copying values that already have the right type.

    Other columns of the frame are not read.

    Args:
        frame: a frame of pandas, polars or Arrow, anything else with ``__arrow_c_stream__``, or a dictionary of
            columns.
        columns: the columns to read.
        labels: ``needed``; ``optional``: the label column may be missing, or have only nulls, which counts as no label;
            or ``absent``: labels are not read.
        truncate_lists: whether to truncate lists that are longer than ``at_most`` instead of refusing them.

    Returns:
        The rows; the label is None if the frame has none.

    Raises:
        DataFormatError: a column is missing, occurs twice or has the wrong type, or a row has an invalid value; the
            message names it.
        ConfigurationError: pyarrow is not installed.
    """
    given = names_of(frame)
    if labels == "optional" and columns.label not in given:
        labels = "absent"
    wanted = columns.feature_names if labels == "absent" else columns.names
    require_names(wanted, given, "the frame")
    table = _table(frame, wanted)
    if labels == "optional":
        # A null among labels is an error in the data: read as 0, it would count as a row without a click.
        nulls = table.column(columns.label).null_count
        labels = "absent" if nulls == table.num_rows > 0 else "needed"
        wanted = columns.feature_names if labels == "absent" else columns.names
        table = table.select(list(wanted))
    check_types(table.schema, columns, "the frame", labels)
    arrays = {name: one_array(table.column(name)) for name in wanted}
    faults = Faults(table.num_rows)
    rows, _ = convert(arrays, columns, faults, labels=labels, truncate_lists=truncate_lists)
    if bad := faults.bad_rows():
        more = f" {len(bad):,} rows have such errors." if len(bad) > 1 else ""
        reason = bad[0].reason.replace("--truncate_lists", "truncate_lists=True")
        raise DataFormatError(f"the frame, row {bad[0].row} (from 0): {reason}.{more}")
    return rows


def names_of(frame: Any) -> list[str]:
    """Return the names of a frame's columns.

    Raises:
        DataFormatError: the object is not a frame.
    """
    if callable(getattr(frame, "collect", None)) and not hasattr(frame, "__arrow_c_stream__"):
        raise DataFormatError(f"{shown(type(frame).__name__)} is lazy and has no values yet. Pass frame.collect().")
    if isinstance(frame, Mapping):
        names: Any = frame.keys()
    elif hasattr(frame, "column_names"):
        names = frame.column_names
    elif hasattr(frame, "columns"):
        names = frame.columns
    elif hasattr(frame, "__arrow_c_stream__"):
        try:
            names = arrow().RecordBatchReader.from_stream(frame).schema.names
        except arrow().ArrowInvalid:  # A stream with one column, such as a series.
            raise _no_frame(frame) from None
    else:
        raise _no_frame(frame)
    return [str(name) for name in names]


def _no_frame(frame: Any) -> DataFormatError:
    return DataFormatError(
        f"{shown(type(frame).__name__)} is not a frame. Pass a frame of pandas, polars or Arrow, or a dictionary of "
        "columns."
    )


def _table(frame: Any, wanted: Sequence[str]) -> pa.Table:
    pa = arrow()
    try:
        if isinstance(frame, Mapping):
            columns = {name: _column(name, frame[name]) for name in wanted}
            lengths = {name: len(column) for name, column in columns.items()}
            first = wanted[0]
            for name, length in lengths.items():
                if length != lengths[first]:
                    raise DataFormatError(
                        f"the frame: column {shown_name(first)} has {lengths[first]:,} rows, but {shown_name(name)} "
                        f"has {length:,}. All columns must have the same number of rows."
                    )
            return pa.table(columns)
        if hasattr(frame, "column_names"):  # An Arrow table.
            return pa.table(frame.select(list(wanted)))
        if hasattr(frame, "columns"):  # Only the wanted columns: others may have values that Arrow has no type for.
            frame = frame[list(wanted)]
        if hasattr(frame, "__arrow_c_stream__"):
            return pa.table(frame).select(list(wanted))
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError) as error:
        name, reason = _first_wrong(frame, wanted, error)
        raise DataFormatError(
            f"the frame: {name} has values of several types, or of a type that Arrow cannot represent ({reason}). "
            "Convert it to one type."
        ) from None


def _first_wrong(frame: Any, wanted: Sequence[str], error: Exception) -> tuple[str, str]:
    """Return the first column that Arrow cannot hold, and Arrow's reason on one line."""
    pa = arrow()
    for name in wanted:
        try:
            pa.array(frame[name])
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError) as wrong:
            return f"column {shown_name(name)}", _on_one_line(wrong)
    return "a column", _on_one_line(error)


def _on_one_line(error: Exception) -> str:
    text = error.args[0] if error.args and not isinstance(error, UnicodeEncodeError) else error
    return printable(" ".join(str(text).split()))


def _column(name: str, values: Any) -> Any:
    """Return a column of a dictionary in a form that Arrow accepts: 2-D arrays become lists of a fixed length."""
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise DataFormatError(
            f"the frame: column {shown_name(name)} is {shown(values)}, a single value. In a dictionary, each column "
            "is a list or an array of its values."
        )
    shape: Any = getattr(values, "shape", ())
    if len(shape) == 2:
        return arrow().FixedSizeListArray.from_arrays(arrow().array(values.reshape(-1)), shape[1])
    return values
