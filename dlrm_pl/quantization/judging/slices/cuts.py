"""Rows grouped by the value of one column, to detect a drop in part of the traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.judging.slices.slice_column import SliceColumn

SMALLEST_SHARE = 0.01
"""Share of the rows that a value needs for a slice of its own: a smaller slice would make every trial read all rows."""

SCORE_NAMES = {"auroc": "AUROC", "log_loss": "log loss"}
"""Names of the scores in messages."""

MOST_SLICES = 64
"""Maximum number of slices; the number of a slice is one byte."""


@dataclass(frozen=True)
class WorstSlice:
    """Guard: how much worse than fp32 the model may be on the slice of rows where it loses most.

    A model that is as good as fp32 overall may fail for one publisher or one country, whose table rows were rounded
    badly. Therefore rows are grouped by one column, and each group is judged separately, by paired scores.

    Attributes:
        by: column to group by, given by its name in the log, such as ``site_id``, or ``C14`` or ``I3`` in Criteo's
            logs. A categorical column can also be given by the name or the number of its table, ``tables.0`` or 0.
            Columns of lists cannot be used.
        tolerance: tolerated relative drop of the worst slice, of its AUROC or its log loss.
        score: score to compare, ``auroc`` or ``log_loss``.
        slices: maximum number of slices. A categorical feature has a slice for each of its most frequent values (those
            with at least 1 % of the rows) and one for all others; a dense feature has bins with equal numbers of rows.
            Both are determined on the rows of the first look.

    Example:
        >>> from dlrm_pl import Criterion, WorstSlice
        >>> criterion = Criterion(relative=0.001, worst_slice=WorstSlice(by="C14", tolerance=0.01))
        >>> criterion.worst_slice.column()
        ('table', 13)
    """

    by: str | int
    tolerance: float = 0.01
    score: Literal["auroc", "log_loss"] = "auroc"
    slices: int = 16

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: no column, a tolerance that is negative or tolerates everything, or a number of
                slices out of range.
        """
        check_fields(self)
        if not str(self.by).strip() or (isinstance(self.by, int) and self.by < 0):
            raise ConfigurationError(f"worst_slice.by={self.by!r} is not a column. Give the name of a column.")
        if not 0 <= self.tolerance < float("inf"):
            raise ConfigurationError(f"worst_slice.tolerance={self.tolerance} must be a non-negative number.")
        if self.tolerance >= 1:
            raise ConfigurationError(
                f"worst_slice.tolerance={self.tolerance} tolerates a drop of {self.tolerance:.0%} of a slice's score, "
                "which guards nothing. Give a share, such as 0.01 for 1 %."
            )
        if not 2 <= self.slices <= MOST_SLICES:
            raise ConfigurationError(f"worst_slice.slices={self.slices} must be between 2 and {MOST_SLICES}.")

    def column(self, columns: Columns | None = None) -> tuple[Literal["dense", "table"], int]:
        """Return the kind of the column and its index in a batch, from 0.

        Args:
            columns: columns of the rows; None if unknown, so that names are those of Criteo's logs.

        Raises:
            ConfigurationError: there is no column of this name, or its rows have lists.
        """
        found = SliceColumn.find(self.by, columns)
        return found.kind, found.index

    def check(self, architecture: Architecture, columns: Columns | None = None) -> None:
        """Check that a model has this column.

        Raises:
            ConfigurationError: there is no such column, its rows have lists, or the model has fewer columns.
        """
        SliceColumn.find(self.by, columns).check(architecture)


@dataclass(frozen=True)
class Slices:
    """Slice of each row.

    Attributes:
        names: names of the slices, such as ``C14=7``, ``city, id 7`` or ``2 <= I3 < 5``.
        numbers: index of the slice of each row, uint8 ``[rows]``.
    """

    names: tuple[str, ...]
    numbers: npt.NDArray[np.uint8]


class SliceRows:
    """Slices of the tuning rows, read when they are first needed and kept for all trials, at one byte per row.

    Args:
        batches: re-iterable batches of the rows that trials are scored on.
        guard: column to group by.
        first_rows: number of rows that determine the slices.
        columns: columns of the rows; None if unknown.
    """

    def __init__(
        self, batches: Iterable[ClickBatch], guard: WorstSlice, first_rows: int, columns: Columns | None = None
    ) -> None:
        self._column = SliceColumn.find(guard.by, columns)
        self._parts = (self._column.values(batch) for batch in batches)
        self._slices = guard.slices
        self._first_rows = first_rows
        self._cut: Cut | None = None
        self._numbers: list[npt.NDArray[np.uint8]] = []
        self._rows = 0

    def first(self, rows: int) -> Slices:
        """Return the slices of the first ``rows`` rows, which must exist.

        Raises:
            ConfigurationError: a row has several values in the column, or none.
        """
        if self._cut is None:
            self._begin()
        assert self._cut is not None
        while self._rows < rows:
            self._add(next(self._parts))
        if len(self._numbers) > 1:
            self._numbers = [np.concatenate(self._numbers)]
        return Slices(self._cut.names, self._numbers[0][:rows])

    def _begin(self) -> None:
        """Read the rows that the slices are cut on, and cut them."""
        self._cut, parts = cut_on(self._parts, self._column, self._slices, self._first_rows)
        for part in parts:
            self._add(part)

    def _add(self, values: npt.NDArray[Any]) -> None:
        assert self._cut is not None
        self._numbers.append(self._cut.numbers(values))
        self._rows += len(values)


@dataclass(frozen=True)
class Cut:
    """Mapping from the values of a column to slices.

    Attributes:
        names: names of the slices.
        edges: for a dense feature, the lower edges of all bins but the first, ascending; for a categorical feature, the
            values that have a slice of their own, ascending.
        categorical: whether the feature is categorical; then the last slice holds all other values.
    """

    names: tuple[str, ...]
    edges: tuple[float, ...]
    categorical: bool

    def __post_init__(self) -> None:
        """Check that the edges ascend, and that there is one more slice than edges.

        Raises:
            ConfigurationError: they do not cut a column into these slices, as in an edited file.
        """
        whole = not self.categorical or all(abs(edge) < 2**53 and edge == int(edge) for edge in self.edges)
        ascending = all(low < high for low, high in pairwise(self.edges))
        if len(self.names) != len(self.edges) + 1 or not whole or not ascending:
            raise ConfigurationError(
                f"worst_slice.cut: {len(self.names)} names and the edges {list(self.edges)} do not define slices of "
                "a column."
            )

    def numbers(self, column: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return the slice of each row, ``[rows]``."""
        if not self.categorical:
            return np.searchsorted(np.array(self.edges, np.float32), column, side="right").astype(np.uint8)
        values = np.array(self.edges, np.int64)
        place = np.minimum(np.searchsorted(values, column), len(values) - 1)
        own = values[place] == column if len(values) else np.zeros(len(column), bool)
        return np.where(own, place, len(values)).astype(np.uint8)


def cut_on(
    parts: Iterable[npt.NDArray[Any]], column: SliceColumn, slices: int, first_rows: int
) -> tuple[Cut, list[npt.NDArray[Any]]]:
    """Choose the slices from the first rows; return them and the parts of the column that were read."""
    read: list[npt.NDArray[Any]] = []
    rows = 0
    for part in parts:
        read.append(part)
        rows += len(part)
        if rows >= first_rows:
            break
    return cut(np.concatenate(read)[:first_rows], column, slices), read


def cut(values: npt.NDArray[Any], column: SliceColumn, slices: int) -> Cut:
    """Choose the slices from the values of some rows, ``[rows]``."""
    name = column.name
    if column.kind == "dense":
        quantiles = np.quantile(values, np.arange(1, slices) / slices, method="higher")
        # Many rows may have the same value, such as 0: bins that would be empty are left out.
        edges = np.unique(quantiles[quantiles > values.min()])
        return Cut(tuple(_ranges(name, column.in_the_log(edges))), tuple(edges.tolist()), categorical=False)
    own, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: slices - 1]
    frequent = np.sort(own[order[counts[order] >= SMALLEST_SHARE * len(values)]])
    names = (*(column.name_of(value) for value in frequent.tolist()), f"{name} of other values")
    return Cut(names, tuple(frequent.tolist()), categorical=True)


def _ranges(name: str, edges: npt.NDArray[np.float64]) -> Iterator[str]:
    """Yield the names of bins between edges in the units of the log."""
    shown = [f"{value:.6g}" for value in edges]
    if not shown:
        yield f"any {name}"
        return
    yield f"{name} < {shown[0]}"
    for low, high in pairwise(shown):
        yield f"{low} <= {name} < {high}"
    yield f"{name} >= {shown[-1]}"
