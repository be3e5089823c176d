"""Column that rows are grouped by: found by its name, and read from batches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.column import DenseColumn
from dlrm_pl.columns.columns import Columns, nearest_name
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture

_TABLE = re.compile(r"(?:tables\.)?(?P<table>[0-9]{1,9})")


@dataclass(frozen=True)
class SliceColumn:
    """A column of a batch.

    Attributes:
        by: the name or number by which the user asked for it.
        kind: ``dense``, or ``table`` for a categorical column.
        index: its index among the columns of its kind, from 0.
        name: its name in the log, for the names of slices.
        dense: for a dense column, how its values in the log were transformed into those of a batch.
        ids_stated: whether names of slices say that their numbers are ids, not values of the log. Names of Criteo's
            columns do not, as the numbers in Criteo's logs have no meaning.
    """

    by: str | int
    kind: Literal["dense", "table"]
    index: int
    name: str
    dense: DenseColumn | None = None
    ids_stated: bool = False

    @classmethod
    def find(cls, by: str | int, columns: Columns | None) -> SliceColumn:
        """Find a column by its name in the log, or by the name or the number of its table.

        Args:
            by: name of a column, ``tables.3``, or 3.
            columns: columns of the rows; None if unknown, so that names are those of Criteo's logs.

        Raises:
            ConfigurationError: there is no such column (the message names the nearest), or its rows have lists.
        """
        known = Columns.criteo() if columns is None else columns
        match = _TABLE.fullmatch(str(by))
        if isinstance(by, str) and by in known.feature_names:
            kind, index = known.find(by)
            if kind == "dense":
                return cls(by, "dense", index, by, known.dense[index])
        elif match is not None:
            index = int(match["table"])
        else:
            raise ConfigurationError(
                f"worst_slice.by={by!r} is not a column. {nearest_name(str(by), known.feature_names)} Categorical "
                "columns also go by the names of their tables: tables.0, tables.1 and so on."
            )
        if columns is None or index >= columns.num_sparse:
            return cls(by, "table", index, f"C{index + 1}")
        if columns.sparse[index].is_list:
            raise ConfigurationError(
                f"worst_slice.by={by!r}: the column has lists. Choose a column with exactly one value per row."
            )
        return cls(by, "table", index, columns.sparse[index].name, ids_stated=not columns.is_criteo)

    def check(self, architecture: Architecture) -> None:
        """Check that a model has this column.

        Raises:
            ConfigurationError: the model has fewer columns.
        """
        has = architecture.num_tables if self.kind == "table" else architecture.bottom_mlp[0]
        if self.index >= has:
            what = "tables" if self.kind == "table" else "dense features"
            raise ConfigurationError(f"worst_slice.by={self.by!r}: this model has only {has} {what}.")

    def name_of(self, row: int) -> str:
        """Name the slice of the rows with one id, which is a row of the table."""
        return f"{self.name}, id {row}" if self.ids_stated else f"{self.name}={row}"

    def values(self, batch: ClickBatch) -> npt.NDArray[Any]:
        """Return the column of a batch, ``[B]``: table rows as int64, dense features as the model takes them, float32.

        Raises:
            ConfigurationError: a row has several values in the column, or none.
        """
        if self.kind == "dense":
            dense: npt.NDArray[Any] = batch.dense[:, self.index].numpy()
            return dense
        if batch.offsets is None:
            indices: npt.NDArray[Any] = batch.indices[self.index].numpy()
            return indices
        first = self.index * batch.num_samples
        offsets = batch.offsets[first : first + batch.num_samples + 1]
        if not bool((offsets.diff() == 1).all()):
            raise ConfigurationError(
                f"worst_slice.by={self.by!r}: a row has several values of this column, or none. Choose a column with "
                "exactly one value per row."
            )
        single: npt.NDArray[Any] = batch.indices[offsets[:-1]].numpy()
        return single

    def in_the_log(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Convert dense values of batches to those of the log."""
        exact = values.astype(np.float64)
        if self.dense is None or self.dense.transform == "log1p":
            return np.expm1(exact)
        if self.dense.transform == "none" or self.dense.mean is None or self.dense.deviation is None:
            return exact
        return exact * self.dense.deviation + self.dense.mean
