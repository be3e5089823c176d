"""RowRange: the rows of a split that calibrate, tune or certify a quantized model."""

from __future__ import annotations

from dataclasses import dataclass

from dlrm_pl.data.formats.binary_format import Split
from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError


@dataclass(frozen=True)
class RowRange:
    """Rows of a split, from ``start`` up to, but not including, ``stop``.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        start: first row.
        stop: row after the last one.

    Raises:
        ConfigurationError: the split has another name, ``start`` is negative, or ``stop`` is below ``start``.

    Example:
        >>> from dlrm_pl import RowRange
        >>> RowRange("val", 0, 100).overlaps(RowRange("val", 100, 200))
        False
    """

    split: Split
    start: int
    stop: int

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.start <= self.stop:
            raise ConfigurationError(f"{self}: start must be between 0 and stop.")

    def overlaps(self, other: RowRange) -> bool:
        """Return whether any row is in both ranges."""
        return self.split == other.split and self.start < other.stop and other.start < self.stop

    def __str__(self) -> str:
        """Return the range as in ``val[0:100]``."""
        return f"{self.split}[{self.start}:{self.stop}]"
