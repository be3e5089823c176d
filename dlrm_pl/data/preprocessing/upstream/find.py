"""Find the files that upstream's preprocessing wrote: .npz with ids, or .bin, with counts and dictionaries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, Split, count_records
from dlrm_pl.data.formats.vocabulary import check_counts, load_array
from dlrm_pl.data.preprocessing.options import KAGGLE_DAYS, PreprocessOptions
from dlrm_pl.errors import ConfigurationError, DataFormatError

if TYPE_CHECKING:
    from dlrm_pl.data.preprocessing.upstream.arrays import UpstreamArrays

_REORDERED = re.compile(r"(.+)_\d+_reordered\.npz")


@dataclass(frozen=True)
class UpstreamFiles:
    """Files that upstream's preprocessing wrote.

    Attributes:
        arrays: .npz files in the order of their rows; empty if there are binary files.
        binaries: .bin files by split; empty if there are arrays.
        rows: number of rows of each split.
        table_sizes: number of rows of each table.
        dictionaries: .npz file of each table's values; empty if there are none.
        others: other files that were read.
    """

    arrays: list[UpstreamArrays]
    binaries: dict[Split, Path]
    rows: dict[Split, int]
    table_sizes: tuple[int, ...]
    dictionaries: list[Path]
    others: list[Path]

    @property
    def files(self) -> list[Path]:
        """Files that the result depends on."""
        return [*(day.path for day in self.arrays), *self.binaries.values(), *self.dictionaries, *self.others]


def find_upstream_files(raw: Path, options: PreprocessOptions) -> UpstreamFiles | None:
    """Return upstream's files if the path names any, or None for raw logs.

    Args:
        raw: a folder with .bin files, a ``_processed.npz``, or the beginning of the names of ``_N_reordered.npz``.
        options: options of the run.

    Returns:
        None for raw logs.

    Raises:
        ConfigurationError: an option needs raw logs.
        DataFormatError: files are missing, or do not fit together.
    """
    if raw.is_dir():
        files = _from_binaries(raw)
    elif raw.suffix == ".npz":
        reordered = _REORDERED.fullmatch(raw.name)
        files = _from_days(raw.with_name(reordered[1]), options) if reordered else _from_one_file(raw, options)
    elif _is_reordered_prefix(raw):
        files = _from_days(raw, options)
    else:
        return None
    _refuse_options_of_logs(raw, options)
    return files


def _is_reordered_prefix(raw: Path) -> bool:
    logs = (raw, raw.with_name(f"{raw.name}_0"), raw.with_name(f"{raw.name}_0.gz"))
    return not any(path.is_file() for path in logs) and raw.with_name(f"{raw.name}_0_reordered.npz").is_file()


def _refuse_options_of_logs(raw: Path, options: PreprocessOptions) -> None:
    needs_logs: dict[str, Any] = {
        "subsample_rate": 0.0,
        "randomize": None,
        "vocabulary": "reference",
        "min_count": 1,
        "vocabulary_from": None,
        "bad_rows": None,
    }
    for name, default in needs_logs.items():
        value = getattr(options, name)
        if value != default and (name, value) != ("randomize", "none"):
            raise ConfigurationError(
                f"{raw}: was written by upstream's preprocessing, whose rows and ids are kept as they are; "
                f"{name}={value} needs the raw logs. (Rows can be shuffled while they are read, with data.shuffle.)"
            )


def _from_binaries(folder: Path) -> UpstreamFiles:
    training = sorted(folder.glob("*_train.bin"))
    if len(training) != 1:
        raise DataFormatError(
            f"{folder}: contains {len(training)} files *_train.bin; expected one. For raw logs, give the common "
            f"beginning of the day files, for example {folder / 'day'}."
        )
    stem = training[0].name.removesuffix("_train.bin")
    binaries: dict[Split, Path] = {split: folder / f"{stem}_{split}.bin" for split in SPLITS}
    counts = _only(folder, "*_fea_count.npz")
    rows: dict[Split, int] = {split: count_records(path) for split, path in binaries.items()}
    return UpstreamFiles([], binaries, rows, _table_sizes(counts), _dictionaries(counts), [counts])


def _from_days(prefix: Path, options: PreprocessOptions) -> UpstreamFiles:
    days = len(list(prefix.parent.glob(f"{prefix.name}_*_reordered.npz")))
    if options.days is not None:
        days = options.days
    if days < 2:
        raise DataFormatError(f"{prefix}_N_reordered.npz: found {days} days; at least 2 are needed.")
    # Imported here and below, so that runs on raw logs do not load the code for conversion.
    from dlrm_pl.data.preprocessing.upstream.arrays import UpstreamArrays

    arrays = [UpstreamArrays(prefix.with_name(f"{prefix.name}_{day}_reordered.npz")) for day in range(days)]
    own = prefix.with_name(f"{prefix.name}_fea_count.npz")
    counts = own if own.is_file() else _only(prefix.parent, "*_fea_count.npz")
    rows = _splits([day.rows for day in arrays], prefix)
    return UpstreamFiles(arrays, {}, rows, _table_sizes(counts), _dictionaries(counts), [counts])


def _from_one_file(path: Path, options: PreprocessOptions) -> UpstreamFiles:
    from dlrm_pl.data.preprocessing.upstream.arrays import UpstreamArrays

    arrays = UpstreamArrays(path)
    sizes = check_counts(load_array(path, "counts"), path)
    counts = sorted(path.parent.glob("*_fea_count.npz"))
    others = counts if len(counts) == 1 and _table_sizes(counts[0]) == sizes else []
    if options.layout == "kaggle":
        days = options.days or KAGGLE_DAYS
        by_day = [arrays.rows // days + (day < arrays.rows % days) for day in range(days)]
    else:
        lengths = _only(path.parent, "*_day_count.npz")
        by_day = load_array(lengths, "total_per_file").tolist()
        others = [*others, lengths]
        if sum(by_day) != arrays.rows:
            raise DataFormatError(
                f"{path}: has {arrays.rows:,} rows, but the days of {lengths} have {sum(by_day):,} together. "
                "Upstream keeps the old counts when it drops non-clicks. Delete that file and let upstream count "
                "again."
            )
    return UpstreamFiles([arrays], {}, _splits(by_day, path), sizes, _dictionaries(*others[:1]), others)


def _splits(by_day: list[int], where: Path) -> dict[Split, int]:
    """Return the rows of each split: test is the first half of the last day (one row larger if odd), val the second."""
    train, last = sum(by_day[:-1]), by_day[-1]
    if last < 2 or not train:
        raise DataFormatError(
            f"{where}: days have {by_day} rows; at least one row to train on, and two on the last day, are needed."
        )
    return {"train": train, "test": last - last // 2, "val": last // 2}


def _only(folder: Path, pattern: str) -> Path:
    paths = sorted(folder.glob(pattern))
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise DataFormatError(f"{folder / pattern}: expected exactly one such upstream file, but found {names}.")
    return paths[0]


def _table_sizes(counts: Path) -> tuple[int, ...]:
    return check_counts(load_array(counts, "counts"), counts)


def _dictionaries(counts: Path | None = None) -> list[Path]:
    """Return the paths of the dictionaries next to the counts; empty if there are none.

    Raises:
        DataFormatError: only some of them exist.
    """
    if counts is None or not counts.name.endswith("_fea_count.npz"):
        return []
    stem = counts.name.removesuffix("_fea_count.npz")
    paths = [counts.with_name(f"{stem}_fea_dict_{table}.npz") for table in range(Columns.criteo().num_sparse)]
    missing = [path for path in paths if not path.is_file()]
    if missing and len(missing) < len(paths):
        raise DataFormatError(f"{missing[0]}: is missing, but others of the {len(paths)} dictionaries exist.")
    return [] if missing else paths
