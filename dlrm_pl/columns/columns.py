"""Columns of a click log, and the layout of records that follows from them. Needs neither NumPy nor torch."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from dlrm_pl.columns.column import DenseColumn, SparseColumn, check_name
from dlrm_pl.columns.statement import MOST_COLUMNS, from_statement, is_range, to_statement
from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.documents.yaml_text import read_yaml
from dlrm_pl.errors import ConfigurationError, DLRMError

FOLDER = Path(__file__).parents[1] / "configs" / "columns"
"""Folder of the included column files; in a checkout, it is part of ``configs`` in the top-level folder."""

RECORD_ITEM_BYTES = 4
_MOST_RECORD_INTS = 1 << 16
_ADVICE = "`dlrm-pl configs copy` writes an example, columns/example.yaml."


@dataclass(frozen=True)
class Columns:
    """The columns of a click log: its label, dense and sparse features.

    A record has ``1 + N + W`` int32 values: the label, the N dense values, and the ids of the sparse columns in order.
    Each sparse column takes up its ``width``; W is the sum of the widths. A list that is shorter than its width is
    padded with -1.

    Args:
        label: name of the label column: 1 for a click, otherwise 0.
        dense: numeric columns, at least one.
        sparse: categorical columns, at least one, in the order of the tables.

    Raises:
        ConfigurationError: there are no columns or too many, or two have the same name.

    Example:
        >>> from dlrm_pl import Columns, DenseColumn, SparseColumn
        >>> columns = Columns("click", (DenseColumn(name="hour"),), (SparseColumn(name="tags", at_most=5),))
        >>> columns.num_dense, columns.num_sparse, columns.record_ints
        (1, 1, 7)
    """

    label: str
    dense: tuple[DenseColumn, ...]
    sparse: tuple[SparseColumn, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        check_name(self.label)
        for name, columns in (("dense", self.dense), ("sparse", self.sparse)):
            if not columns:
                raise ConfigurationError(f"{name} columns: there are none, but DLRM needs at least one. Add one.")
        seen: set[str] = set()
        for name in self.names:
            if is_range(name):
                raise ConfigurationError(f"{name!r} has the form of a range of names. Rename the column.")
            if name in seen:
                raise ConfigurationError(f"Two columns have the name {name!r}. Each needs its own.")
            seen.add(name)
        if len(self.dense) + len(self.sparse) > MOST_COLUMNS:
            raise ConfigurationError(
                f"{len(self.dense) + len(self.sparse):,} columns are more than {MOST_COLUMNS:,}, the maximum."
            )
        if self.record_ints > _MOST_RECORD_INTS:
            raise ConfigurationError(
                f"A record would have {self.record_ints:,} values, more than {_MOST_RECORD_INTS:,}. Shorten the lists."
            )

    @classmethod
    def criteo(cls) -> Columns:
        """Return the columns of Criteo's logs, which a dataset without a columns statement has."""
        return _criteo()

    @classmethod
    def read(cls, source: str | os.PathLike[str]) -> Columns:
        """Read columns from a YAML file, given by its path or, if it is included, by its name, such as ``avazu``.

        Raises:
            ConfigurationError: there is no such file, or it does not define columns; the message names the value.

        Example:
            >>> from dlrm_pl import Columns
            >>> Columns.read("criteo").sparse[1].name
            'C2'
        """
        path = Path(source).expanduser()
        known = {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}
        name = str(source).removeprefix("configs/").removeprefix("columns/").removesuffix(".yaml")
        if not path.is_file():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f" Did you mean {near[0]}?" if near else f" The included ones are {', '.join(known)}."
                raise ConfigurationError(f"{source}: there is no such columns file.{hint}")
            path = known[name]
        values = read_yaml(path, ConfigurationError, _ADVICE)
        if values is None:
            raise ConfigurationError(f"{path}: is empty, but must state label, dense and sparse. {_ADVICE}")
        return cls.of_statement(values, str(path))

    @classmethod
    def of_statement(
        cls, values: Any, where: str, error: type[DLRMError] = ConfigurationError, advice: str = _ADVICE
    ) -> Columns:
        """Return the columns that plain values state, see ``statement``.

        Args:
            values: plain values, as from YAML or JSON.
            where: place that the values were read from; begins error messages.
            error: class of the error to raise.
            advice: sentence that says what to do; ends error messages.

        Raises:
            DLRMError: an ``error``: a value is missing, unknown or wrong; the message names it.
        """
        label, dense, sparse = from_statement(values, where, error, advice)
        try:
            return cls(label, dense, sparse)
        except ConfigurationError as wrong:
            raise error(f"{where}: {wrong} {advice}".rstrip()) from None

    def statement(self) -> dict[str, Any]:
        """Return the columns as plain values, for YAML, JSON and checkpoints."""
        return to_statement(self.label, self.dense, self.sparse)

    @cached_property
    def digest(self) -> str:
        """Checksum of the statement, 16 hex digits."""
        text = json.dumps(self.statement(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        """The numbers of columns, in one line."""
        lists = sum(column.is_list for column in self.sparse)
        return f"Columns({self.num_dense} dense, {self.num_sparse} sparse{f', {lists} of them lists' if lists else ''})"

    @property
    def num_dense(self) -> int:
        """Number of dense columns N."""
        return len(self.dense)

    @property
    def num_sparse(self) -> int:
        """Number of sparse columns, and therefore of tables, T."""
        return len(self.sparse)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns: the label, dense, sparse."""
        return (self.label, *self.feature_names)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the dense and the sparse columns."""
        return (*(column.name for column in self.dense), *(column.name for column in self.sparse))

    @cached_property
    def record_ints(self) -> int:
        """Number of int32 values of a record."""
        return 1 + self.num_dense + sum(column.width for column in self.sparse)

    @property
    def record_bytes(self) -> int:
        """Number of bytes of a record."""
        return self.record_ints * RECORD_ITEM_BYTES

    @property
    def dense_fields(self) -> slice:
        """Positions of the dense values in a record."""
        return slice(1, 1 + self.num_dense)

    @property
    def sparse_fields(self) -> slice:
        """Positions of all ids in a record."""
        return slice(1 + self.num_dense, self.record_ints)

    @cached_property
    def table_fields(self) -> tuple[slice, ...]:
        """Positions of each table's ids in a record."""
        return tuple(self._table_fields())

    def _table_fields(self) -> Iterator[slice]:
        first = 1 + self.num_dense
        for column in self.sparse:
            yield slice(first, first + column.width)
            first += column.width

    @cached_property
    def id_fields(self) -> tuple[slice, ...]:
        """Positions of each table's ids among the ids of a record."""
        first = 1 + self.num_dense
        return tuple(slice(fields.start - first, fields.stop - first) for fields in self.table_fields)

    @cached_property
    def dense_runs(self) -> tuple[slice, ...]:
        """Ranges of adjacent dense columns with the same transform and record format, among the dense columns."""
        runs, first = [], 0
        for _, run in groupby(self.dense, key=lambda column: (column.holds_float, column.transform)):
            last = first + len(tuple(run))
            runs.append(slice(first, last))
            first = last
        return tuple(runs)

    @cached_property
    def sparse_runs(self) -> tuple[slice, ...]:
        """Ranges of adjacent sparse columns without lists, and single columns with lists, in order."""
        runs: list[slice] = []
        for table, column in enumerate(self.sparse):
            if runs and not column.is_list and not self.sparse[table - 1].is_list:
                runs[-1] = slice(runs[-1].start, table + 1)
            else:
                runs.append(slice(table, table + 1))
        return tuple(runs)

    @cached_property
    def is_one_hot(self) -> bool:
        """Whether no sparse column has lists, so that batches are one-hot."""
        return not any(column.is_list for column in self.sparse)

    @cached_property
    def is_criteo(self) -> bool:
        """Whether these are the columns of Criteo's logs."""
        return self == Columns.criteo()

    @cached_property
    def has_hex_vocabulary(self) -> bool:
        """Whether some column has hexadecimal values in a dictionary, to which ``max_ind_range`` applies."""
        return any(column.kind == "hex" and column.ids == "vocabulary" for column in self.sparse)

    @cached_property
    def not_raw_text(self) -> str:
        """Name of the first column that Criteo-style raw logs cannot have; "" if rows can be lines of such a log.

        In these logs, all dense columns are integers with ``log1p``, and all sparse columns are hexadecimal values with
        a vocabulary.
        """
        for dense in self.dense:
            if (dense.type, dense.transform) != ("integer", "log1p"):
                return dense.name
        for sparse in self.sparse:
            if (sparse.kind, sparse.ids, sparse.is_list) != ("hex", "vocabulary", False):
                return sparse.name
        return ""

    @property
    def has_raw_text(self) -> bool:
        """Whether rows can be lines of a Criteo-style raw log: tab-separated integers and hexadecimal values."""
        return not self.not_raw_text

    def find(self, name: str) -> tuple[Literal["dense", "sparse"], int]:
        """Return the kind of a feature and its index among those of its kind, from 0.

        Raises:
            ConfigurationError: there is no such feature; the message names the most similar one.
        """
        for index, dense in enumerate(self.dense):
            if dense.name == name:
                return "dense", index
        for index, sparse in enumerate(self.sparse):
            if sparse.name == name:
                return "sparse", index
        raise ConfigurationError(f"{name!r} is not a column. {nearest_name(name, self.feature_names)}")

    def require_computed(self) -> None:
        """Check that all numbers of the transforms are known, so that values can be transformed for a model.

        Raises:
            ConfigurationError: the mean and deviation of a column are not known; the message names the column.
        """
        for column in self.dense:
            if not column.computed:
                raise ConfigurationError(
                    f"Column {column.name}: mean and deviation of transform=standardize are not known. Take the "
                    "columns from a dataset, for which `preprocess` has computed them."
                )

    def with_statistics(self, statistics: Mapping[str, tuple[float, float]]) -> Columns:
        """Return the columns with the mean and deviation of the standardized dense columns, given by name."""
        dense = (
            replace(column, mean=statistics[column.name][0], deviation=statistics[column.name][1])
            if column.name in statistics
            else column
            for column in self.dense
        )
        return replace(self, dense=tuple(dense))


@cache
def _criteo() -> Columns:
    return Columns.read(FOLDER / "criteo.yaml")


def nearest_name(name: str, names: tuple[str, ...]) -> str:
    """Return a sentence with the most similar of some names, or with a list of them."""
    near = difflib.get_close_matches(name, names, 1, 0.5)
    if near:
        return f"Did you mean {near[0]}?"
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"There is only {shown}." if len(names) == 1 else f"There are {shown}."
