"""Which row of its table a category has: raw value <-> id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.criteo_counts import NUM_SPARSE
from dlrm_pl.errors import DataFormatError

Ids = npt.NDArray[np.int32]
RawValues = npt.NDArray[np.int64]

COUNTS_NAME = "day_fea_count.npz"
MISSING = 0
"""The raw value of an empty field, as upstream has it."""
UNSEEN = -1
"""First value of a table whose row 0 is for values that are not in it."""


def dictionary_name(table: int) -> str:
    """Return the name of the file with a table's raw values."""
    return f"day_fea_dict_{table}.npz"


def load_counts(folder: Path) -> tuple[int, ...]:
    """Read the table sizes in ``day_fea_count.npz``.

    Raises:
        DataFormatError: the file is missing or corrupt, or has another number of tables.
    """
    path = folder / COUNTS_NAME
    return check_counts(load_array(path, "counts"), path)


def check_counts(counts: RawValues, path: Path) -> tuple[int, ...]:
    """Check the array of table sizes in a file, and return them.

    Raises:
        DataFormatError: there is another number of tables, or a size is not positive.
    """
    if counts.shape != (NUM_SPARSE,) or (counts < 1).any():
        raise DataFormatError(f"{path}: counts are {counts.tolist()}; expected {NUM_SPARSE} positive numbers.")
    return tuple(int(count) for count in counts)


def save_counts(folder: Path, sizes: Sequence[int]) -> None:
    """Write the table sizes to ``day_fea_count.npz``."""
    np.savez(folder / COUNTS_NAME, counts=np.array(sizes, dtype=np.int32))


def save_dictionary(folder: Path, table: int, values: RawValues) -> None:
    """Write the raw values of a table to ``day_fea_dict_{table}.npz``."""
    # int32 as upstream has it; without a cap the values are unsigned 32-bit hashes and need more.
    fits = values.max(initial=0) <= np.iinfo(np.int32).max
    np.savez(folder / dictionary_name(table), unique=values.astype(np.int32) if fits else values)


class Vocabulary:
    """Raw values of each table in the order of their ids.

    Args:
        values: one array for each table, without repetitions.

    Example:
        >>> from dlrm_pl.data import Vocabulary
        >>> vocabulary = Vocabulary([[7, 5], [3]])
        >>> vocabulary.sizes
        (2, 1)
    """

    def __init__(self, values: Sequence[npt.NDArray[np.integer]]) -> None:
        self.values = tuple(np.asarray(table, dtype=np.int64) for table in values)

    def __repr__(self) -> str:
        """The number of tables and of all their values, on one line."""
        return f"Vocabulary({len(self.values)} tables, {sum(self.sizes)} values)"

    @cached_property
    def _order(self) -> list[npt.NDArray[np.int64]]:
        return [np.argsort(table, kind="stable") for table in self.values]

    @cached_property
    def _sorted(self) -> list[npt.NDArray[np.int64]]:
        return [table[order] for table, order in zip(self.values, self._order, strict=True)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of each table."""
        return tuple(len(table) for table in self.values)

    def encode(self, raw: RawValues) -> tuple[Ids, int]:
        """Look up the ids of raw values.

        Args:
            raw: int64 ``[B, T]``.

        Returns:
            ids int32 ``[B, T]``, and how many values are not in the vocabulary. Those get ``unseen_id``.
        """
        ids = np.empty(raw.shape, np.int32)
        unseen = 0
        for table, (values, order) in enumerate(zip(self._sorted, self._order, strict=True)):
            column = raw[:, table]
            place = np.minimum(np.searchsorted(values, column), len(values) - 1)
            known = values[place] == column
            ids[:, table] = np.where(known, order[place], self.unseen_id(table))
            unseen += int(len(column) - np.count_nonzero(known))
        return ids, unseen

    def unseen_id(self, table: int) -> int:
        """Return the row of values that a table does not have: their own row 0, a missing value's, or 0."""
        values = self._sorted[table]
        if len(values) and values[0] == UNSEEN:
            return int(self._order[table][0])
        place = int(np.searchsorted(values, MISSING))
        present = place < len(values) and values[place] == MISSING
        return int(self._order[table][place]) if present else 0

    def save(self, folder: Path) -> None:
        """Write upstream's files: ``day_fea_count.npz`` and ``day_fea_dict_{0..25}.npz``."""
        save_counts(folder, self.sizes)
        for table, values in enumerate(self.values):
            save_dictionary(folder, table, values)

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Read the files of a dataset folder.

        Raises:
            DataFormatError: a file is missing or corrupt, or sizes disagree with the counts; names the table.
        """
        counts = load_counts(folder)
        tables = [load_array(folder / dictionary_name(table), "unique") for table in range(NUM_SPARSE)]
        for table, (values, count) in enumerate(zip(tables, counts, strict=True)):
            if len(values) != count:
                raise DataFormatError(
                    f"{folder / dictionary_name(table)}: table {table} has {len(values)} values here and {count} rows "
                    f"in {COUNTS_NAME}. The files are of different runs; preprocess the raw log again."
                )
        return cls(tables)


@dataclass(frozen=True)
class DictionaryChecksums:
    """Checksums of table sizes and dictionaries.

    Attributes:
        fingerprint: checksum of the sizes and all dictionaries, 16 hex digits.
        tables: checksum of each table's values, 16 hex digits; empty for a table without a dictionary.
    """

    fingerprint: str
    tables: tuple[str, ...]

    @classmethod
    def of_folder(cls, sizes: Sequence[int], folder: Path) -> DictionaryChecksums:
        """Compute the checksums of the dictionaries of a folder, one after the other."""
        paths = (folder / dictionary_name(table) for table in range(len(sizes)))
        return cls.of_tables(sizes, (load_array(path, "unique") if path.is_file() else None for path in paths))

    @classmethod
    def of_tables(cls, sizes: Sequence[int], tables: Iterable[RawValues | None]) -> DictionaryChecksums:
        """Compute the checksums of values; None stands for a table without a dictionary."""
        digest = hashlib.sha256(repr(tuple(sizes)).encode())
        checksums = []
        for values in tables:
            # The contents and not the file: a zip archive holds its time of writing.
            data = b"" if values is None else np.ascontiguousarray(values, dtype="<i8").data
            digest.update(data)
            checksums.append("" if values is None else hashlib.sha256(data).hexdigest()[:16])
        return cls(digest.hexdigest()[:16], tuple(checksums))


def load_array(path: Path, name: str) -> RawValues:
    """Read an array of an npz file as int64.

    Raises:
        DataFormatError: the file is missing or corrupt, or lacks the array.
    """
    try:
        # Opened here, since np.load does not close a file that it cannot read.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            return np.asarray(archive[name], dtype=np.int64)
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: is missing. Preprocess the raw log, or copy it from its dataset.") from error
    except Exception as error:  # zipfile and numpy raise a dozen kinds of errors for a corrupt archive
        raise DataFormatError(
            f"{path}: cannot be read as an npz file with the array {name!r} ({error}). Preprocess the raw log again."
        ) from error
