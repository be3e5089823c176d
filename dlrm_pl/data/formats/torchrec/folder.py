"""Files of a folder of days as they are: counts, widths and states, without what the files do not state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.data.formats.torchrec.day import Day
from dlrm_pl.data.formats.torchrec.day_files import DayFiles, find_days
from dlrm_pl.data.formats.torchrec.stated import DESCRIPTION_NAME, DaysDescription
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.watched import FileState


@dataclass(frozen=True)
class DaysFolder:
    """A folder of days.

    Attributes:
        path: the folder.
        files: files of each day.
        states: state of each file when it was examined.
        rows: number of rows of each day.
        num_dense: number of dense values in a row.
        widths: number of ids in a row, for each table.
        description: description of the days by ``preprocess``; None if it did not write them.
    """

    path: Path
    files: tuple[DayFiles, ...]
    states: dict[Path, FileState]
    rows: tuple[int, ...]
    num_dense: int
    widths: tuple[int, ...]
    description: DaysDescription | None

    @classmethod
    def open(cls, path: Path, *, bags: bool | None = None) -> DaysFolder:
        """Examine the files of all days, reading only the header of each.

        Args:
            path: the folder.
            bags: as in ``find_days``.

        Raises:
            DataFormatError: a file is missing or damaged, or days differ in their columns; the message names the file.
            ConfigurationError: see ``find_days``.
        """
        files = find_days(path, bags=bags)
        days = [Day.open(day) for day in files]
        first = days[0]
        for day in days[1:]:
            if day.dense.shape[1] != first.dense.shape[1]:
                raise _misfit(day.files.dense, day.dense.shape[1], "dense values", first.dense.shape[1])
            if len(day.ids) != len(first.ids):
                raise _misfit(day.files.ids, len(day.ids), "tables", len(first.ids))
            for table, (width, expected) in enumerate(zip(day.widths, first.widths, strict=True)):
                if width != expected:
                    raise _misfit(day.files.ids, width, f"ids in each bag of table {table}", expected)
        rows, description = tuple(day.rows for day in days), DaysDescription.read(path)
        if description is not None:
            _check_description(path, description, rows, len(first.ids))
        states = {mapped.path: mapped.file.state for day in days for mapped in day.mapped}
        return cls(path, tuple(files), states, rows, first.dense.shape[1], first.widths, description)

    @property
    def has_bags(self) -> bool:
        """Whether the days have archives of bags."""
        return self.files[0].has_bags

    def num_positives(self, number: int) -> int:
        """Count the rows of a day that have label 1."""
        return int((Day.open(self.files[number], self.states).labels == 1).sum())


def _misfit(path: Path, count: int, what: str, expected: int) -> DataFormatError:
    return DataFormatError(f"{path}: has {count} {what}, but day 0 has {expected}. Copy all days from the same run.")


def _check_description(path: Path, description: DaysDescription, rows: Sequence[int], tables: int) -> None:
    where, advice = path / DESCRIPTION_NAME, "The files are of different runs; preprocess the raw log again."
    if len(description.table_sizes) != tables:
        raise DataFormatError(
            f"{where}: states {len(description.table_sizes)} tables, but the days have {tables}. {advice}"
        )
    if tuple(description.rows_by_day) != tuple(rows):
        raise DataFormatError(
            f"{where}: states days with {list(description.rows_by_day)} rows, but they have {list(rows)}. {advice}"
        )
