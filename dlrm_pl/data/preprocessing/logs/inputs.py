"""Files given to ``preprocess``: upstream's files, raw logs, or files with named columns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dlrm_pl.data.preprocessing.logs.days import Day, find_days
from dlrm_pl.data.preprocessing.logs.log import Log, TextLog
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.upstream.find import UpstreamFiles, find_upstream_files
from dlrm_pl.data.sources.readers.endings import stated_format
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.sizes import format_bytes

log = logging.getLogger(__name__)

_RAW_LOG = ".txt"  # A raw log may have this ending too.
_UPSTREAM = (".bin", ".npz")


@dataclass(frozen=True)
class Inputs:
    """Files to preprocess.

    Attributes:
        raw: path given by the user.
        files: the files.
        upstream: upstream's files; None if the files have another form.
        days: raw logs of each day; empty for other files.
    """

    raw: Path
    files: list[Path]
    upstream: UpstreamFiles | None = None
    days: Sequence[Day] = ()

    @property
    def have_named_columns(self) -> bool:
        """Whether the files are CSV, Parquet or Arrow files."""
        return self.upstream is None and not self.days

    def within_memory(self, options: PreprocessOptions) -> PreprocessOptions:
        """Return the options with an order for the rows, and no more workers than fit the memory budget."""
        fitting = options.within_memory()
        if self.have_named_columns:
            # Imported here and below, so that runs on raw logs do not load the readers of other files.
            from dlrm_pl.data.preprocessing.logs.row_log import most_workers

            fitting = replace(fitting, workers=min(fitting.workers, most_workers(options)))
        if fitting.workers < options.workers:
            log.warning(
                "using %s workers instead of %s: --memory %s is not enough for more",
                fitting.workers,
                options.workers,
                format_bytes(options.memory_bytes),
            )
        return replace(fitting, randomize=options.randomize or ("total" if self.upstream is None else "none"))

    def log(self, options: PreprocessOptions) -> Log | None:
        """Return the log in the files; None for upstream's files.

        Raises:
            DataFormatError: a column is missing or has the wrong type, or there are too few days.
        """
        if self.upstream is not None:
            return None
        if not self.have_named_columns:
            return TextLog(self.days)
        from dlrm_pl.data.preprocessing.logs.row_log import RowLog

        return RowLog(self.raw, options)


def find_inputs(raw: Path, options: PreprocessOptions) -> Inputs:
    """Find the files to preprocess.

    Raises:
        ConfigurationError: the options are for another kind of file.
        DataFormatError: a file is missing or corrupt, or there are too few days.
    """
    columns = options.columns_of_logs
    if options.flavor == "torchrec":
        days = find_days(raw, options.layout, options.days, options.least_days, columns)
        return Inputs(raw, [day.path for day in days], None, days)
    if _has_named_columns(raw, options):
        from dlrm_pl.data.sources.readers.find import find_files

        return Inputs(raw, [file.path for file in find_files(raw)])
    upstream = find_upstream_files(raw, options) if columns.is_criteo else None
    if upstream is not None:
        return Inputs(raw, list(upstream.files), upstream)
    days = find_days(raw, options.layout, options.days, options.least_days, columns)
    return Inputs(raw, [day.path for day in days], None, days)


def _has_named_columns(raw: Path, options: PreprocessOptions) -> bool:
    """Return whether the files are CSV, Parquet or Arrow files, by the columns, the options and the names of files."""
    if not options.columns_of_logs.has_raw_text:
        if options.layout == "kaggle":
            raise ConfigurationError(
                "layout=kaggle is for raw logs, whose columns are integers and hexadecimal values. Divide the rows of "
                "files with named columns by --split_by."
            )
        if not raw.exists() and (raw.with_name(f"{raw.name}_0").exists() or raw.with_name(f"{raw.name}_0.gz").exists()):
            raise ConfigurationError(
                f"{raw}_0: is a raw log, which cannot have the column {options.columns_of_logs.not_raw_text}: raw "
                "logs have integers with transform log1p, and hexadecimal values with a vocabulary. Change the "
                "columns, or give files with a header."
            )
        return True
    if options.layout == "kaggle":
        return False
    if options.split_by is not None:
        return True
    paths = [path for path in raw.iterdir() if path.is_file()] if raw.is_dir() else [raw]
    if any(path.suffix in _UPSTREAM for path in paths):
        return False
    return any(stated_format(path) for path in paths if _RAW_LOG not in path.suffixes)
