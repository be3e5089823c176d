"""Day of each row: by file, by the order of rows, or by a column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.sources.arrays.types import is_text, simple_type
from dlrm_pl.data.sources.bad_rows import Faults
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMN = re.compile(r"(?P<name>.+?)(?:\[:(?P<length>[0-9]{1,4})\])?")


@dataclass(frozen=True)
class DayColumn:
    """A column whose values are days, or begin with them.

    Attributes:
        name: name of the column.
        length: number of leading characters of a value's text that form the day; None for all.
    """

    name: str
    length: int | None = None

    def texts(self, array: pa.Array) -> pa.Array:
        """Return the day of each value as text; null if it is missing, empty or not UTF-8.

        Args:
            array: simple array of strings, integers, dates or timestamps; the day of a timestamp is its date.
        """
        pa = arrow()
        if pa.types.is_timestamp(array.type):
            array = pa.compute.local_timestamp(array) if array.type.tz else array
            array = array.cast(pa.date32())
        texts = _decoded(array) if is_text(array.type) else array.cast(pa.string())
        if self.length is not None:
            texts = pa.compute.utf8_slice_codeunits(texts, 0, self.length)
        return pa.compute.if_else(pa.compute.equal(texts, ""), None, texts)

    def misfit(self, type_: pa.DataType) -> str:
        """Return why values of a type cannot be days; "" if they can."""
        types, type_ = arrow().types, simple_type(type_)
        if is_text(type_) or types.is_integer(type_) or types.is_date(type_) or types.is_timestamp(type_):
            return ""
        return f"it holds {type_}, but texts, integers, dates or timestamps are needed to divide rows into days"


@dataclass(frozen=True)
class Days:
    """Division of rows into days; made by ``find_days``.

    Attributes:
        split_by: ``files``, ``rows``, or a column, as given by the user.
        names: the days in order: names of files, ranges of rows, or values of the column.
        rows: number of rows of each day, including bad ones; None if it is not known.
        starts: for ``files`` and ``rows``, the file of each day's first row and its row number there.
    """

    split_by: str
    names: tuple[str, ...]
    rows: tuple[int | None, ...]
    starts: tuple[tuple[int, int], ...] = ()

    @property
    def column(self) -> DayColumn | None:
        """Column that states the days, if one does."""
        return parse_split_by(self.split_by)

    def numbers(
        self, file: int, first_row: int, num_rows: int, array: pa.Array | None, faults: Faults
    ) -> npt.NDArray[np.int32]:
        """Return the day of each row of a chunk, int32 ``[num_rows]``.

        Args:
            file: number of the chunk's file.
            first_row: number of the chunk's first row in the file.
            num_rows: number of rows.
            array: values of the column that states the days.
            faults: collects the rows without a day.
        """
        column = self.column
        if column is None:
            before = sum(start[0] < file for start in self.starts)
            starts = [row for start_file, row in self.starts if start_file == file]
            rows = np.arange(first_row, first_row + num_rows)
            return (before - 1 + np.searchsorted(starts, rows, side="right")).astype(np.int32)
        pa = arrow()
        texts = column.texts(array).cast(pa.string())
        numbers = pa.compute.index_in(texts, value_set=pa.array(self.names, pa.string()))
        if numbers.null_count:
            missing = np.flatnonzero(numbers.is_null().to_numpy(zero_copy_only=False))
            expected = "a day, since rows are split by it"
            assert array is not None
            faults.add(column.name, "null", expected, missing, lambda place: array[int(missing[place])].as_py())
        filled: npt.NDArray[np.int32] = numbers.fill_null(0).to_numpy(zero_copy_only=False)
        return filled


def parse_split_by(split_by: str) -> DayColumn | None:
    """Return the column that ``COLUMN`` or ``COLUMN[:N]`` names; None for ``files`` and ``rows``.

    Raises:
        ConfigurationError: the text does not have this form.
    """
    if split_by in ("files", "rows"):
        return None
    match = _COLUMN.fullmatch(split_by)
    if match is None or match["length"] == "0":
        raise ConfigurationError(
            f"split_by={split_by!r} must be files, rows, the name of a column, or one with a number of characters, "
            "such as hour[:6]."
        )
    return DayColumn(match["name"], int(match["length"]) if match["length"] else None)


def _decoded(array: pa.Array) -> pa.Array:
    pa = arrow()
    try:
        return array.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = array.cast(pa.large_binary()).to_pylist()
        return pa.array([_text(text) for text in texts], pa.large_string())


def _text(text: bytes | None) -> str | None:
    try:
        return None if text is None else text.decode()
    except UnicodeDecodeError:
        return None
