"""File names of a day, and the days that a folder has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.errors import ConfigurationError, DataFormatError


@dataclass(frozen=True)
class DayFiles:
    """The three files of a day.

    Attributes:
        number: number of the day, from 0.
        dense: float32 ``[n, N]``: the model's inputs.
        labels: int32 ``[n, 1]``.
        ids: ``[n, T]`` ids, or an archive of T arrays with the bags of each table.
        has_bags: whether ``ids`` is an archive of bags.
    """

    number: int
    dense: Path
    labels: Path
    ids: Path
    has_bags: bool


def is_days_folder(folder: Path) -> bool:
    """Return whether a folder has files of days in TorchRec's format."""
    return any((folder / f"day_0_{part}").is_file() for part in ("dense.npy", "sparse.npy", "sparse_multi_hot.npz"))


def find_days(folder: Path, *, bags: bool | None) -> list[DayFiles]:
    """Return the days of a folder: from 0 on, those that have any file.

    Args:
        folder: the folder.
        bags: whether to read the archives of bags if there are both archives and plain ids; None if this was not
            specified.

    Raises:
        DataFormatError: a file of a day is missing, or a day between other days.
        ConfigurationError: there are both archives and plain ids, and ``bags`` does not say which to read.
    """
    numbers = sorted({number for path in folder.glob("day_*") if (number := _number(path)) is not None})
    both = (folder / "day_0_sparse.npy").is_file(), (folder / "day_0_sparse_multi_hot.npz").is_file()
    if all(both) and bags is None:
        raise ConfigurationError(
            f"{folder}: has both day_0_sparse.npy and day_0_sparse_multi_hot.npz. Give data.multi_hot_sizes to read "
            "the bags, or move the archives away to read the plain ids."
        )
    has_bags = bool(bags) if all(both) else both[1]
    days = []
    for expected, number in enumerate(numbers):
        if number != expected:
            raise DataFormatError(
                f"{folder}: has files of day {number}, but none of day {expected}. Days are numbered from 0 without "
                "gaps. Copy the missing files."
            )
        ids = "sparse_multi_hot.npz" if has_bags else "sparse.npy"
        dense, labels = folder / f"day_{number}_dense.npy", folder / f"day_{number}_labels.npy"
        day = DayFiles(number, dense, labels, folder / f"day_{number}_{ids}", has_bags)
        for path in (day.dense, day.labels, day.ids):
            if not path.is_file():
                raise DataFormatError(
                    f"{path}: is missing. A day consists of dense values, labels and ids. Copy the file."
                )
        days.append(day)
    return days


def _number(path: Path) -> int | None:
    """The number of the day that a file of this format belongs to; None for other files."""
    for part in ("dense.npy", "labels.npy", "sparse.npy", "sparse_multi_hot.npz"):
        text = path.name.removeprefix("day_").removesuffix(f"_{part}")
        if path.name == f"day_{text}_{part}" and text.isdecimal() and str(int(text)) == text:
            return int(text)
    return None
