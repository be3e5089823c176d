"""Arrow types: those that a column may have, and simpler forms of the same values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.data.sources.library import arrow

if TYPE_CHECKING:
    import pyarrow as pa


def is_text(type_: pa.DataType) -> bool:
    """Return whether values of a simple type are strings, or bytes that should be strings."""
    types = arrow().types
    return bool(
        types.is_string(type_) or types.is_large_string(type_) or types.is_binary(type_) or types.is_large_binary(type_)
    )


def is_list(type_: pa.DataType) -> bool:
    """Return whether values of a simple type are lists."""
    types = arrow().types
    return bool(types.is_list(type_) or types.is_large_list(type_))


def simple_type(type_: pa.DataType) -> pa.DataType:
    """Return the type that ``simple`` gives: without dictionaries, views, runs, extensions and fixed lengths."""
    pa = arrow()
    types = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return simple_type(type_.storage_type)
    if types.is_dictionary(type_) or types.is_run_end_encoded(type_):
        return simple_type(type_.value_type)
    if types.is_string_view(type_):
        return pa.large_string()
    if types.is_binary_view(type_):
        return pa.large_binary()
    if types.is_fixed_size_list(type_) or types.is_list(type_):
        return pa.list_(simple_type(type_.value_type))
    if types.is_large_list(type_) or types.is_list_view(type_) or types.is_large_list_view(type_):
        return pa.large_list(simple_type(type_.value_type))
    return type_


def simple(array: pa.Array) -> pa.Array:
    """Return an array in a form that the converters can read, without a copy if it already has one."""
    pa = arrow()
    if isinstance(array.type, pa.BaseExtensionType):
        return simple(array.storage)
    if pa.types.is_dictionary(array.type):
        # Arrow cannot look up dictionary values of its newer types.
        return pa.DictionaryArray.from_arrays(array.indices, simple(array.dictionary)).dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        return simple(pa.compute.run_end_decode(array))
    wanted = simple_type(array.type)
    return array if array.type == wanted else array.cast(wanted)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column of a table as one simple array, without a copy if it has one chunk."""
    pa = arrow()
    if column.num_chunks == 1:
        return simple(column.chunk(0))
    type_ = simple_type(column.type)
    return pa.concat_arrays([simple(chunk) for chunk in column.chunks]) if column.num_chunks else pa.array([], type_)


def misfit(column: DenseColumn | SparseColumn | None, type_: pa.DataType, *, is_csv: bool = False) -> str:
    """Return why the values of a type cannot be those of a column; "" if they can.

    Args:
        column: a column; None for the label.
        type_: type that a file or frame states for the column.
        is_csv: whether all values are strings, since the file has no types.

    Returns:
        A clause, such as "it holds double, but integers are needed".
    """
    pa = arrow()
    type_ = simple_type(type_)
    holds, kinds = f"it holds {type_}", ""
    if isinstance(column, SparseColumn) and column.is_list:
        if is_csv:
            return "it has lists, which a CSV file cannot hold: write Parquet or Arrow files"
        if pa.types.is_null(type_):
            return ""
        if not is_list(type_):
            return (
                f"{holds}, but lists are needed (because of bag or at_most); without these options it takes "
                "single values"
            )
        type_, kinds = type_.value_type, "lists of "
    elif is_list(type_) and not pa.types.is_nested(type_.value_type):
        return f"{holds}, which needs bag or at_most" if isinstance(column, SparseColumn) else f"{holds}, not numbers"
    if pa.types.is_null(type_) or is_csv:
        return ""
    whole = pa.types.is_integer(type_) or pa.types.is_boolean(type_)
    number = whole or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    if isinstance(column, SparseColumn) and column.kind == "string":
        hint = ", or state kind: integer" if number else ""
        fits = is_text(type_) or pa.types.is_integer(type_)
        return "" if fits else f"{holds}, but {kinds}texts or integers are needed: convert it{hint}"
    if isinstance(column, SparseColumn) and column.kind == "hex":
        return "" if is_text(type_) or whole else f"{holds}, but {kinds}hexadecimal texts or integers are needed"
    if number:
        return ""
    wanted = "floats" if isinstance(column, DenseColumn) and column.type == "float" else "integers"
    hint = ", or state kind: string" if isinstance(column, SparseColumn) and is_text(type_) else ""
    return f"{holds}, but {kinds}{wanted} are needed: convert it{hint}"
