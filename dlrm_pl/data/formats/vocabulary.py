"""Map raw category values to rows of their table, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.category_values import Values, from_zero, num_values
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Numbers
from dlrm_pl.errors import DataFormatError

if TYPE_CHECKING:
    from dlrm_pl.data.formats.raw_rows import RawSparse

RawValues = npt.NDArray[np.int64]

COUNTS_NAME = "day_fea_count.npz"
UNSEEN = -1
"""First value of a table of a hex column whose row 0 is for values that are not in it."""


def dictionary_name(table: int) -> str:
    """Return the name of the file with a table's raw values."""
    return f"day_fea_dict_{table}.npz"


def load_counts(folder: Path, columns: Columns | None = None) -> tuple[int, ...]:
    """Read the table sizes in ``day_fea_count.npz``.

    Raises:
        DataFormatError: the file is missing or corrupt, or its number of tables differs from the number of columns.
    """
    path = folder / COUNTS_NAME
    return check_counts(load_array(path, "counts"), path, columns)


def check_counts(counts: RawValues, path: Path, columns: Columns | None = None) -> tuple[int, ...]:
    """Check a file's array of table sizes, and return them.

    Raises:
        DataFormatError: the number of tables is wrong, a size is not positive, or it is not what the column states.
    """
    sparse = _sparse(columns)
    if counts.shape != (len(sparse),) or (counts < 1).any():
        raise DataFormatError(f"{path}: counts are {counts.tolist()}; expected {len(sparse)} positive numbers.")
    for column, count in zip(sparse, counts.tolist(), strict=True):
        if column.rows not in (None, count):
            raise DataFormatError(
                f"{path}: the table of {column.name} has {count} rows, but its column states {column.rows}. The files "
                "are of different runs; preprocess the raw log again."
            )
    return tuple(int(count) for count in counts)


def _sparse(columns: Columns | None) -> tuple[SparseColumn, ...]:
    return (columns or Columns.criteo()).sparse


def save_counts(folder: Path, sizes: Sequence[int]) -> None:
    """Write the table sizes to ``day_fea_count.npz``."""
    np.savez(folder / COUNTS_NAME, counts=np.array(sizes, dtype=np.int32))


def save_dictionary(folder: Path, table: int, values: Values, column: SparseColumn | None = None) -> None:
    """Write the raw values of a table to ``day_fea_dict_{table}.npz``.

    Args:
        folder: dataset folder.
        table: number of the table.
        values: values in the order of their ids.
        column: column of the table; None: a hex column.
    """
    path = folder / dictionary_name(table)
    if isinstance(values, Strings):
        offsets, data = from_zero(values)
        np.savez(path, offsets=offsets, data=data)
        return
    # int32 as in upstream; without a cap, the values are unsigned 32-bit hashes and need more bits.
    narrow = (column is None or column.kind == "hex") and values.max(initial=0) <= np.iinfo(np.int32).max
    np.savez(path, unique=values.astype(np.int32) if narrow else values)


class Vocabulary:
    """Raw values of each table in the order of their ids.

    Args:
        values: values of each table, without duplicates: integers, or ``Strings`` for a string column; None for a
            column whose ids are hashes or remainders.
        columns: columns of the tables; None: hex columns, as in Criteo's logs.

    Attributes:
        sparse: columns of the tables.

    Example:
        >>> from dlrm_pl.data import Vocabulary
        >>> vocabulary = Vocabulary([[7, 5], [3]])
        >>> vocabulary.sizes
        (2, 1)
    """

    def __init__(self, values: Sequence[npt.ArrayLike | Strings | None], columns: Columns | None = None) -> None:
        self.sparse = (
            columns.sparse
            if columns
            else tuple(SparseColumn(name=f"C{number}", kind="hex") for number in range(1, len(values) + 1))
        )
        # Imported here and below, since counts and dictionaries are also written without a vocabulary.
        from dlrm_pl.data.formats.table_lookup import TableLookup

        self._tables = [
            TableLookup(column, _plain_values(table)) for column, table in zip(self.sparse, values, strict=True)
        ]

    def __repr__(self) -> str:
        """The number of tables and of all their values, on one line."""
        values = sum(num_values(table) for table in self.values if table is not None)
        return f"Vocabulary({len(self.sparse)} tables, {values} values)"

    @property
    def values(self) -> tuple[Values | None, ...]:
        """Values of each table; None for a table without a dictionary."""
        return tuple(table.values for table in self._tables)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of each table."""
        return tuple(table.size for table in self._tables)

    def encode(self, raw: RawValues) -> tuple[Numbers, int]:
        """Look up the ids of raw values, for hex and integer columns without lists.

        Args:
            raw: int64 ``[B, T]``.

        Returns:
            ids int32 ``[B, T]``, and how many values are not in the vocabulary. These get ``unseen_id``.
        """
        from dlrm_pl.data.formats.raw_rows import RawSparse

        ids = np.empty(raw.shape, np.int32)
        unseen = 0
        for table in range(len(self.sparse)):
            ids[:, table], unknown = self.ids(table, RawSparse(raw[:, table]))
            unseen += unknown
        return ids, unseen

    def ids(self, table: int, raw: RawSparse) -> tuple[Numbers, int]:
        """Look up the ids of a column's elements.

        Returns:
            ids int32 ``[E]``, and how many elements are not in the vocabulary. These get ``unseen_id``.
        """
        return self._tables[table].ids(raw)

    def unseen_id(self, table: int) -> int:
        """Return the row of values that are not in a table: their own row 0, the row of a missing value, or 0."""
        return self._tables[table].unseen_id

    def unseen_fallback(self, table: int) -> Literal["unseen", "missing", "first"]:
        """Return what ``unseen_id`` is the row of: ``unseen`` values, ``missing`` ones, or the ``first`` value."""
        return self._tables[table].unseen_fallback

    def save(self, folder: Path) -> None:
        """Write ``day_fea_count.npz``, and ``day_fea_dict_{t}.npz`` for each table with a dictionary, like upstream."""
        save_counts(folder, self.sizes)
        for table, values in enumerate(self.values):
            if values is not None:
                save_dictionary(folder, table, values, self.sparse[table])

    @classmethod
    def load(cls, folder: Path, columns: Columns | None = None) -> Vocabulary:
        """Read the files of a dataset folder.

        Args:
            folder: dataset folder.
            columns: columns of the dataset; None: Criteo's.

        Raises:
            DataFormatError: a file is missing or corrupt, or sizes disagree with the counts; the message names the
                table.
        """
        columns = columns or Columns.criteo()
        counts = load_counts(folder, columns)
        tables = [load_dictionary(folder / dictionary_name(t), column) for t, column in enumerate(columns.sparse)]
        for table, (values, count) in enumerate(zip(tables, counts, strict=True)):
            if values is not None and num_values(values) != count:
                raise DataFormatError(
                    f"{folder / dictionary_name(table)}: table {table} has {num_values(values)} values here and "
                    f"{count} rows in {COUNTS_NAME}. The files are of different runs; preprocess the raw log again."
                )
        return cls(tables, columns)


def _plain_values(values: npt.ArrayLike | Strings | None) -> Values | None:
    return values if values is None or isinstance(values, Strings) else np.asarray(values, dtype=np.int64)


@dataclass(frozen=True)
class DictionaryChecksums:
    """Checksums of table sizes and dictionaries.

    Attributes:
        fingerprint: checksum of the sizes, all dictionaries and, except for Criteo's, the columns; 16 hex digits.
        tables: checksum of each table's values, 16 hex digits; empty for a table without a dictionary.
    """

    fingerprint: str
    tables: tuple[str, ...]

    @classmethod
    def of_folder(cls, sizes: Sequence[int], folder: Path, columns: Columns | None = None) -> DictionaryChecksums:
        """Compute the checksums of the dictionaries in a folder, one after the other."""
        paths = ((folder / dictionary_name(table), column) for table, column in enumerate(_sparse(columns)))
        tables = (load_dictionary(path, column) if path.is_file() else None for path, column in paths)
        return cls.of_tables(sizes, tables, columns)

    @classmethod
    def of_tables(
        cls, sizes: Sequence[int], tables: Iterable[Values | None], columns: Columns | None = None
    ) -> DictionaryChecksums:
        """Compute the checksums of values; None stands for a table without a dictionary."""
        digest = hashlib.sha256(repr(tuple(sizes)).encode())
        if columns and not columns.is_criteo:
            digest.update(columns.digest.encode())
        checksums = []
        for values in tables:
            # The contents rather than the file, since a zip archive contains the time it was written.
            parts = [] if values is None else _contents(values)
            table_digest = hashlib.sha256()
            for part in parts:
                digest.update(part)
                table_digest.update(part)
            checksums.append(table_digest.hexdigest()[:16] if parts else "")
        return cls(digest.hexdigest()[:16], tuple(checksums))


def _contents(values: Values) -> list[memoryview]:
    if isinstance(values, Strings):
        offsets, data = from_zero(values)
        return [*_contents(offsets), np.ascontiguousarray(data).data]
    return [np.ascontiguousarray(values, dtype="<i8").data]


def require_dictionaries(folder: Path, columns: Columns) -> None:
    """Check that the dictionaries of a dataset folder exist.

    Raises:
        DataFormatError: a dictionary is missing; the message names it.
    """
    for table, column in enumerate(columns.sparse):
        path = folder / dictionary_name(table)
        if column.ids == "vocabulary" and not path.is_file():
            raise _missing(path)


def _missing(path: Path) -> DataFormatError:
    return DataFormatError(f"{path}: is missing. Preprocess the raw log, or copy the file from its dataset.")


def load_dictionary(path: Path, column: SparseColumn) -> Values | None:
    """Read the values of a column's table from an npz file; None for hashes and remainders, which have no file.

    Raises:
        DataFormatError: the file is missing or corrupt, or belongs to a column of another kind.
    """
    if column.ids != "vocabulary":
        return None
    if column.kind != "string":
        return load_array(path, "unique")
    texts = Strings(load_array(path, "offsets"), _load(path, "data", np.uint8))
    try:
        return checked_texts(texts, path)
    except DataFormatError as error:
        raise DataFormatError(f"{error} Preprocess the raw log again.") from error


def checked_texts(texts: Strings, path: Path) -> Strings:
    """Return the strings in a file if their offsets are valid.

    Raises:
        DataFormatError: the offsets are not valid.
    """
    ends = texts.offsets
    if ends.ndim != 1 or not len(ends) or ends[0] != 0 or ends[-1] != len(texts.data) or (np.diff(ends) < 0).any():
        raise DataFormatError(
            f"{path}: the offsets of its strings do not fit its {len(texts.data)} bytes of text: the file is damaged."
        )
    return texts


def load_array(path: Path, name: str) -> RawValues:
    """Read an array of an npz file as int64.

    Raises:
        DataFormatError: the file is missing or corrupt, or lacks the array.
    """
    return _load(path, name, np.int64)


def _load(path: Path, name: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
    try:
        # The file is opened here, since np.load does not close a file that it cannot read.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            return np.asarray(archive[name], dtype=dtype)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except Exception as error:  # zipfile and numpy raise a dozen kinds of errors for a corrupt archive
        raise DataFormatError(
            f"{path}: cannot be read as an npz file with the array {name!r} ({error}). Preprocess the raw log again."
        ) from error
