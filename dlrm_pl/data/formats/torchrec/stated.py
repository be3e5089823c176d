"""Facts that files of days do not state themselves: the number of rows of the tables, and how bags are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.torchrec.bag_tables import Distribution
from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.documents.fields import Count, Partial, Positive, make
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import ConfigurationError, DataFormatError

DESCRIPTION_NAME = "torchrec.json"
"""File next to the days that ``preprocess --flavor torchrec`` writes."""

FORMAT = 1
_ADVICE = "Preprocess the raw log again, or delete the file and give data.table_sizes."


@dataclass(frozen=True)
class StatedTables:
    """Facts about a folder of days that are stated from outside.

    Attributes:
        table_sizes: number of rows of each table; None: as in the folder's own description.
        multi_hot_sizes: number of ids in a bag of each table; None: as in the files.
        multi_hot_distribution: how bags are drawn; None: as the folder's lookup tables were drawn.
        draws: whether lookup tables may be drawn if they are missing.

    Raises:
        ConfigurationError: a value has the wrong type.
    """

    table_sizes: tuple[int, ...] | None = None
    multi_hot_sizes: tuple[int, ...] | None = None
    multi_hot_distribution: Distribution | None = None
    draws: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def of_options(
        cls, table_sizes: Sequence[int] | None, multi_hot_sizes: Sequence[int] | None, distribution: Distribution | None
    ) -> StatedTables:
        """Return what a data module's options state; missing lookup tables are drawn.

        Raises:
            ConfigurationError: a distribution is given without sizes.
        """
        if distribution is not None and multi_hot_sizes is None:
            raise ConfigurationError(
                f"data.multi_hot_distribution={distribution} only applies to bags that are drawn. Give "
                "data.multi_hot_sizes."
            )
        sizes, bags = (None if values is None else tuple(map(int, values)) for values in (table_sizes, multi_hot_sizes))
        return cls(sizes, bags, distribution, draws=True)

    @classmethod
    def of_model(cls, table_sizes: Sequence[int], columns: Columns | None) -> StatedTables:
        """Return what a model states about the rows that it can score; bags are drawn only by existing tables."""
        widths = None if columns is None else tuple(column.bag for column in columns.sparse)
        return cls(tuple(table_sizes), widths)

    @property
    def are_given(self) -> bool:
        """Whether anything is stated."""
        return self.table_sizes is not None or self.multi_hot_sizes is not None


@dataclass(frozen=True)
class DaysDescription(Partial):
    """Contents of ``torchrec.json``.

    Attributes:
        format: version of the format.
        table_sizes: number of ids of each column, counted from 0 to the largest id.
        rows_by_day: number of rows of each day.
        report: data report of ``preprocess``.
    """

    format: Positive
    table_sizes: tuple[Positive, ...]
    rows_by_day: tuple[Count, ...]
    report: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> DaysDescription | None:
        """Read the file in a folder; None if it is missing, as it is if TorchRec's scripts wrote the days.

        Raises:
            DataFormatError: the file is damaged or of another version; the message names the value.
        """
        path = folder / DESCRIPTION_NAME
        if not path.exists():
            return None
        stated = make(cls, read_json(path, DataFormatError, _ADVICE), str(path), DataFormatError, _ADVICE)
        if stated.format != FORMAT:
            raise DataFormatError(f"{path}: has format {stated.format}, but this version reads {FORMAT}. {_ADVICE}")
        return stated
