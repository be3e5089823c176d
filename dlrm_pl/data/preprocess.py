"""Raw click logs -> a dataset folder, equal to the reference's. Training rows are held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dlrm_pl.atomic import atomic_folder
from dlrm_pl.data.binary_format import RECORD_DTYPE, SPARSE, Records, split_file_name
from dlrm_pl.data.dataset_folder import DatasetFolder, describe, is_dataset_folder
from dlrm_pl.data.raw_log import iter_raw_records
from dlrm_pl.data.vocabulary import VocabularyBuilder
from dlrm_pl.errors import ConfigurationError, DataFormatError

Layout = Literal["terabyte", "kaggle"]
Randomize = Literal["total", "day", "none"]

_KAGGLE_DAYS = 7


@dataclass(frozen=True)
class PreprocessReport:
    """What was made, for people."""

    folder: DatasetFolder
    rows_by_day: tuple[int, ...]

    def __str__(self) -> str:
        """A few lines."""
        lines = [f"{self.folder.path}: {sum(self.rows_by_day):,} rows of {len(self.rows_by_day)} days"]
        for name, split in self.folder.splits.items():
            lines.append(f"  {name:<6}{split.records:>14,} rows, {split.positives or 0:,} clicks")
        rows = sum(self.folder.table_sizes)
        return "\n".join([*lines, f"  tables {len(self.folder.table_sizes)}, {rows:,} rows"])


def preprocess(
    raw: Path,
    output: Path,
    *,
    layout: Layout = "terabyte",
    days: int | None = None,
    max_ind_range: int = 40_000_000,
    randomize: Randomize = "total",
    seed: int = 123,
    progress: Callable[[int], None] = lambda rows: None,
) -> PreprocessReport:
    """Make a dataset folder.

    Ids are given by first appearance over all days in order, the last included, as the reference does. Train is
    all days but the last; test is the first half of the last day (the larger when odd), val the second.

    Args:
        raw: ``terabyte``: the beginning of the day files' names; ``kaggle``: one file.
        output: the folder, replaced as a whole at the end.
        layout: of the raw logs.
        days: how many; None: 7 for ``kaggle``, as many as there are for ``terabyte``.
        max_ind_range: cap of the raw values, by modulo; 0 or less: none.
        randomize: order of the training rows: over all days, inside each day, or as they come.
        seed: of the order.
        progress: told how many rows were read.

    Raises:
        ConfigurationError: fewer than two days.
        DataFormatError: a day is missing or has no rows, or the last has fewer than two; or see ``raw_log``.
    """
    if days is not None and days < 2:
        raise ConfigurationError(f"days={days}: at least 2 are needed, one to train on and one to test on.")
    if layout == "kaggle":
        records = _one_day(raw, max_ind_range, builder := VocabularyBuilder(), progress)
        count = days or _KAGGLE_DAYS
        if len(records) < count + 1:
            raise DataFormatError(f"{raw}: {len(records)} rows cannot be cut into {count} days.")
        # array_split gives the extra rows to the first days, as the reference does.
        by_day = np.array_split(records, count)
    else:
        files = day_files(raw, days)
        builder = VocabularyBuilder()
        by_day = [_one_day(file, max_ind_range, builder, progress) for file in files]
        for file, rows in zip(files, by_day, strict=True):
            if not len(rows):
                raise DataFormatError(f"{file}: has no rows. An empty day is most often a broken download.")
        if len(by_day[-1]) < 2:
            raise DataFormatError(f"{files[-1]}: has {len(by_day[-1])} row, the last day is cut into test and val.")
    with atomic_folder(output, is_dataset_folder) as folder:
        test_rows = (len(by_day[-1]) + 1) // 2
        parts = {
            "train": _ordered(by_day[:-1], randomize, seed),
            "test": iter([by_day[-1][:test_rows]]),
            "val": iter([by_day[-1][test_rows:]]),
        }
        for split, chunks in parts.items():
            with (folder / split_file_name(split)).open("wb") as handle:  # type: ignore[arg-type]
                for chunk in chunks:
                    handle.write(np.ascontiguousarray(chunk).data)
        builder.vocabulary().save(folder)
        describe(folder, max_ind_range=max_ind_range if max_ind_range > 0 else -1, created_by="preprocess")
    return PreprocessReport(DatasetFolder.open(output), tuple(len(day) for day in by_day))


def day_files(prefix: Path, days: int | None) -> list[Path]:
    """``PREFIX_0``, ``PREFIX_1``, ..., plain or ``.gz``.

    Raises:
        DataFormatError: fewer than two, or one missing before a later one; names it.
    """
    numbers: dict[int, Path] = {}
    for path in sorted(prefix.parent.glob(f"{prefix.name}_*")):
        suffix = path.name.removeprefix(f"{prefix.name}_").removesuffix(".gz")
        if suffix.isdigit() and path.is_file():
            earlier = numbers.setdefault(int(suffix), path)
            if earlier != path:
                raise DataFormatError(f"{earlier} and {path} are the same day: keep one of them.")
    wanted = days if days is not None else max(numbers, default=-1) + 1
    for number in range(wanted):
        if number not in numbers:
            raise DataFormatError(f"{prefix}_{number}: is missing, plain or .gz; {wanted} days are needed in sequence.")
    if wanted < 2:
        raise DataFormatError(f"{prefix}_0, {prefix}_1, ...: {wanted} day files were found, at least 2 are needed.")
    return [numbers[number] for number in range(wanted)]


def _one_day(path: Path, max_ind_range: int, builder: VocabularyBuilder, progress: Callable[[int], None]) -> Records:
    chunks = []
    for raw in iter_raw_records(path, max_ind_range):
        raw[:, SPARSE] = builder.add(raw[:, SPARSE])
        chunks.append(raw.astype(RECORD_DTYPE))
        progress(len(raw))
    return np.concatenate(chunks) if chunks else np.empty((0, 40), RECORD_DTYPE)


def _ordered(days: list[Records], randomize: Randomize, seed: int) -> Iterator[Records]:
    rng = np.random.default_rng(seed)
    if randomize == "total":
        rows = np.concatenate(days)
        yield rows[rng.permutation(len(rows))]
    else:
        for day in days:
            yield day if randomize == "none" else day[rng.permutation(len(day))]
