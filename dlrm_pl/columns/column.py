"""One column of a click log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ConfigurationError

DenseType = Literal["integer", "float"]
Transform = Literal["log1p", "none", "standardize"]
Kind = Literal["hex", "integer", "string"]
Ids = Literal["vocabulary", "hash", "modulo"]
Pooling = Literal["sum", "mean"]

MOST_ROWS = (1 << 31) - 1
"""Largest number of rows of a table, since ids are int32."""

MOST_ELEMENTS = 4096
"""Largest number of elements of a bag."""

_MOST_NAME = 256


@dataclass(frozen=True, kw_only=True)
class DenseColumn:
    """A numeric feature. A record holds the value itself: an int32, or the bits of a float32 (see ``holds_float``).

    Attributes:
        name: name of the column.
        type: ``integer`` or ``float``.
        transform: function applied to values before they reach the model. ``log1p``: ``log(x + 1)``, with negative
            values as 0; ``none``: the value itself; ``standardize``: ``(x - mean) / deviation``. A missing value is 0,
            or the mean with ``standardize``.
        mean: with ``standardize``, the mean of the training rows; None until ``preprocess`` has computed it.
        deviation: with ``standardize``, the standard deviation of the training rows, above 0; None until ``preprocess``
            has computed it.

    Raises:
        ConfigurationError: a value is out of range or of another type.

    Example:
        >>> from dlrm_pl import DenseColumn
        >>> DenseColumn(name="price", type="float", transform="standardize").computed
        False
    """

    name: str
    type: DenseType = "integer"
    transform: Transform = "log1p"
    mean: float | None = None
    deviation: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_name(self.name)
        for field in ("mean", "deviation"):
            value = getattr(self, field)
            if value is None:
                continue
            if self.transform != "standardize":
                raise ConfigurationError(
                    f"Column {self.name}: {field}={value} needs transform=standardize, not {self.transform}."
                )
            if not math.isfinite(value) or (field == "deviation" and value <= 0):
                raise ConfigurationError(
                    f"Column {self.name}: {field}={value} must be a finite number, above 0 for deviation."
                )
        if (self.mean is None) != (self.deviation is None):
            raise ConfigurationError(f"Column {self.name}: mean and deviation must be given together.")

    @property
    def holds_float(self) -> bool:
        """Whether a record holds the bits of a float32 instead of an integer."""
        return self.type == "float" or self.transform == "standardize"

    @property
    def rounds_integers(self) -> bool:
        """Whether integers are stored as float32, which rounds those beyond 2**24."""
        return self.type == "integer" and self.holds_float

    @property
    def computed(self) -> bool:
        """Whether all numbers of the transform are known."""
        return self.transform != "standardize" or self.mean is not None


@dataclass(frozen=True, kw_only=True)
class SparseColumn:
    """A categorical feature, with one embedding table. A record holds ids: rows of the table.

    Attributes:
        name: name of the column.
        kind: form of the values: ``hex``, up to 8 hexadecimal digits; ``integer``, signed 64-bit; ``string``, UTF-8 of
            any length.
        ids: how values become ids. ``vocabulary``: each value gets its own id, numbered by first appearance; ``hash``:
            the value is hashed into ``rows`` ids, of which 0 stands for a missing value; ``modulo``: the remainder of
            the division by ``rows``, for ``hex`` and non-negative ``integer`` values; a missing value is 0.
        rows: number of ids, for ``hash`` and ``modulo``.
        bag: number of elements in a row. 1 for a plain value; more for lists that always have this length.
        at_most: largest number of elements, for lists of varying length, which may be empty; cannot be combined with
            ``bag``.
        pooling: how the embeddings of a list become one: ``sum`` or ``mean``. An empty list gives zeros.

    Raises:
        ConfigurationError: a value is out of range or of another type, or values contradict each other.

    Example:
        >>> from dlrm_pl import SparseColumn
        >>> SparseColumn(name="tags", kind="string", at_most=5, pooling="mean").width
        5
    """

    name: str
    kind: Kind = "string"
    ids: Ids = "vocabulary"
    rows: int | None = None
    bag: int = 1
    at_most: int | None = None
    pooling: Pooling = "sum"

    def __post_init__(self) -> None:
        check_fields(self)
        check_name(self.name)
        if self.ids == "vocabulary" and self.rows is not None:
            raise ConfigurationError(
                f"Column {self.name}: rows={self.rows} needs ids=hash or ids=modulo; with a vocabulary, the number "
                "of rows is the number of values."
            )
        if self.ids != "vocabulary" and self.rows is None:
            raise ConfigurationError(f"Column {self.name}: ids={self.ids} needs rows, the number of ids.")
        if self.rows is not None and not 2 <= self.rows <= MOST_ROWS:
            raise ConfigurationError(f"Column {self.name}: rows={self.rows} must be between 2 and {MOST_ROWS:,}.")
        if self.ids == "modulo" and self.kind == "string":
            raise ConfigurationError(
                f"Column {self.name}: ids=modulo does not work for strings. Choose ids=vocabulary or ids=hash."
            )
        if self.at_most is not None and self.bag != 1:
            raise ConfigurationError(
                f"Column {self.name}: bag={self.bag} and at_most={self.at_most} are mutually exclusive: bag is for "
                "lists that all have the same length. Give one of them."
            )
        if not 1 <= self.width <= MOST_ELEMENTS:
            field = "bag" if self.at_most is None else "at_most"
            raise ConfigurationError(f"Column {self.name}: {field}={self.width} must be between 1 and {MOST_ELEMENTS}.")
        if self.pooling == "mean" and not self.is_list:
            raise ConfigurationError(f"Column {self.name}: pooling=mean needs a column of lists. Give bag or at_most.")

    @property
    def width(self) -> int:
        """Number of ids that a record has room for."""
        return self.bag if self.at_most is None else self.at_most

    @property
    def is_list(self) -> bool:
        """Whether the values of the column are lists."""
        return self.at_most is not None or self.bag > 1


def check_name(name: str) -> None:
    """Check the name of a column.

    Raises:
        ConfigurationError: the name is empty, too long, or has characters that do not belong in a file's header.
    """
    if not name or len(name) > _MOST_NAME or not name.isprintable() or name != name.strip():
        raise ConfigurationError(
            f"{shown(name)} cannot be the name of a column: a name has 1 to {_MOST_NAME} printable characters and no "
            "space at either end. Rename the column."
        )
