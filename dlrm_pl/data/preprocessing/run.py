"""Turn raw click logs into a dataset folder equal to upstream's, at any size: bounded, parallel and restartable.

The rows are read once. Each row is parsed, its categories are numbered by first appearance, and it is written to a
bucket. The bucket is given by a 64-bit key, which is computed from the row number. Then each bucket is sorted by key
and appended. The order is thus a uniform shuffle that depends only on the seed, not on threads, memory or
interruptions. The last day keeps its order.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrm_pl.columns.difference import difference
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import recognize_dataset
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder, differences
from dlrm_pl.data.preprocessing.log_run import LogRun
from dlrm_pl.data.preprocessing.logs.days import identity
from dlrm_pl.data.preprocessing.logs.inputs import Inputs, find_inputs
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.remote_dataset import RemoteDataset
from dlrm_pl.data.preprocessing.statistics.report import report_lines
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ClusterError, ConfigurationError, DLRMError, OutputError
from dlrm_pl.files.atomic import writing
from dlrm_pl.files.destinations import resolved
from dlrm_pl.files.locks import folder_lock
from dlrm_pl.files.remote import RemoteFolder, is_url
from dlrm_pl.files.replacement import PlannedOutput

if TYPE_CHECKING:
    from dlrm_pl.data.preprocessing.cluster.run import ClusterRun
    from dlrm_pl.data.preprocessing.torchrec.run import DaysRun
    from dlrm_pl.data.preprocessing.upstream.convert import UpstreamConversion

log = logging.getLogger(__name__)

Progress = Callable[[str, float, int], None]
"""Called with the name of the stage, the share of it that is done, and the number of rows since the last call."""


@dataclass(frozen=True)
class PreprocessReport:
    """Summary of a ``preprocess`` run; ``str()`` gives it as text.

    Attributes:
        folder: the dataset that was made.
        rows_by_day: number of rows kept of each day; empty if the input was not divided into days.
        seconds: duration of this run; None if the dataset already existed.
        resumed: whether an earlier, interrupted run had done part of the work.

    Example:
        >>> import tempfile
        >>> import dlrm_pl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = dlrm_pl.synthesize(f"{folder}/logs", rows=3000, days=3, max_table_size=50, format="raw")
        ...     report = dlrm_pl.preprocess(f"{folder}/logs/day", f"{folder}/clicks")
        >>> report.rows_by_day, report.folder.splits["test"].records
        ((1000, 1000, 1000), 500)
    """

    folder: DatasetFolder
    rows_by_day: tuple[int, ...]
    seconds: float | None
    resumed: bool = False

    def __str__(self) -> str:
        """The rows, tables and data report of the dataset, as text."""
        rows = sum(split.records for split in self.folder.splits.values())
        count = len(self.rows_by_day)
        days = f" of {count} day{'s'[: count != 1]}" if count else ""
        speed = "" if self.seconds is None or self.resumed else f", {rows / self.seconds:,.0f} rows/s"
        lines = [f"{self.folder.path}: {rows:,} rows{days}{speed}"]
        if self.seconds is None:
            lines = [
                (f"{self.folder.path}: is complete: an earlier run made it from the same logs with the same options")
            ]
        for name, split in self.folder.splits.items():
            clicks = split.positives or 0
            lines.append(f"  {name:<6}{split.records:>14,} rows, {clicks:,} clicks ({clicks / split.records:.3%})")
        sizes = self.folder.table_sizes
        lines.append(f"  tables {len(sizes)}, {sum(sizes):,} rows: {' '.join(f'{size:,}' for size in sizes)}")
        report = report_lines(self.folder.report) if self.folder.report else []
        return "\n".join([*lines, *(f"  {line}" for line in report)])


def preprocess(
    raw: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: PreprocessOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    cluster: str | None = None,
    work: str | os.PathLike[str] | None = None,
) -> PreprocessReport:
    """Turn raw click logs into a dataset folder, or resume an interrupted run of the same command.

    Categories are numbered by first appearance over all days in order, including the last, as upstream
    (facebookresearch/dlrm) does, unless the options say otherwise. With ``flavor="torchrec"``, the folder has days in
    TorchRec's format, byte-identical to those of its scripts. All days except the last become train; the first half of
    the last day becomes test (with one row more if odd), and the second half val. With ``vocabulary_from``, one day is
    enough, and train is then missing.

    Args:
        raw: with layout ``terabyte``, the common beginning of the day files' names (``logs/day`` for ``logs/day_0``,
            ...), which with ``cluster`` may be a URL (``s3://bucket/logs/day``); with ``kaggle``, one file. Or a CSV,
            Parquet or Arrow file, or a folder of such files. Upstream's preprocessed files (.npz or .bin) are
            converted, in their order.
        output: folder to write; it appears only when it is complete.
        options: options of the run; None for the defaults.
        overwrite: whether to replace an existing dataset that was made from other logs or with other options.
        progress: called from time to time with the stage, the share of it that is done, and the number of rows since
            the last call.
        cluster: address of a Ray cluster whose machines do the work and share the file system of the logs and the
            output, ``auto`` for the cluster that this machine belongs to, or ``local`` for a cluster of this machine
            alone. The result is byte-identical. None for no cluster.
        work: folder in which the dataset is made if ``output`` is a URL (``s3://bucket/clicks``), to which it is then
            copied; on a cluster, all machines must share this folder. The dataset also stays in it.

    Returns:
        A summary of the run.

    Raises:
        ConfigurationError: options contradict each other or the vocabulary, or pyarrow is needed but not installed.
        DataFormatError: a day is missing or empty, the last day has fewer than two rows, a column is missing, or a row
            cannot be parsed.
        OutputError: the folder is in use, is not writable or contains something else, or the disk is too small.
        ClusterError: a machine of the cluster lacks a path or memory or has another version, or all machines are lost.

    Example:
        >>> import tempfile
        >>> from dlrm_pl import PreprocessOptions, preprocess, synthesize
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     logs = synthesize(f"{folder}/logs", rows=1000, days=4, max_table_size=100, format="raw")
        ...     report = preprocess(f"{folder}/logs/day", f"{folder}/clicks", PreprocessOptions(workers=1))
        >>> report.rows_by_day
        (250, 250, 250, 250)
    """
    check_arguments(preprocess, locals())
    options = options or PreprocessOptions()
    progress = progress or (lambda stage, share, rows: None)
    if options.flavor == "torchrec" and (cluster is not None or is_url(output) or is_url(raw)):
        raise ConfigurationError(
            "--flavor torchrec runs on one machine, with local logs and a local output. Leave out --cluster, and "
            "copy files at a URL to this machine first."
        )
    made, published = Path(output).expanduser(), None
    if is_url(output):
        if work is None:
            raise ConfigurationError(
                f"{os.fspath(output)}: an output at a URL needs a folder where the dataset is made first. Give --work."
            )
        published = RemoteDataset(RemoteFolder(os.fspath(output).rstrip("/")), overwrite)
        made = Path(work).expanduser() / published.folder.url.rpartition("/")[2]
    with _on_this_machine(raw, options, cluster) as (logs, remote):
        report = _preprocess(_Request(logs, remote, made, published, options, overwrite, progress, cluster))
    if published is not None:
        published.upload(made, progress)
    return report


@dataclass(frozen=True)
class _Request:
    """Arguments of a call of ``preprocess``.

    Attributes:
        raw: the logs on this machine; for logs at a URL, their outlines.
        remote: folder at a URL that contains the logs.
        output: folder to make.
        published: dataset at a URL to which the folder is copied.
        options: options of the run.
        overwrite: whether to replace an existing dataset that was made from other logs or with other options.
        progress: called with the stage, the share of it that is done, and the number of rows since the last call.
        cluster: address of the cluster that does the work.
    """

    raw: Path
    remote: RemoteFolder | None
    output: Path
    published: RemoteDataset | None
    options: PreprocessOptions
    overwrite: bool
    progress: Progress
    cluster: str | None

    def key(self, inputs: Inputs, options: PreprocessOptions) -> dict[str, Any]:
        """Return the options and inputs as JSON values; equal for calls that make the same bytes."""
        key: dict[str, Any] = json.loads(json.dumps({"options": options.key(), "inputs": identity(inputs.files)}))
        if self.remote is not None:
            for entry, path in zip(key["inputs"], dict.fromkeys(inputs.files), strict=True):
                entry["file"] = f"{self.remote.url}/{path.name}"
        return key

    @property
    def shown(self) -> str:
        """The logs as the user gave them, for messages."""
        return str(self.raw) if self.remote is None else f"{self.remote.url}/{self.raw.name}"


@contextmanager
def _on_this_machine(
    raw: str | os.PathLike[str], options: PreprocessOptions, cluster: str | None
) -> Iterator[tuple[Path, RemoteFolder | None]]:
    """Yield the path of the logs on this machine; for logs at a URL, that of their outlines, and the URL's folder."""
    if not is_url(raw):
        yield Path(raw).expanduser(), None
        return
    url, _, beginning = os.fspath(raw).rpartition("/")
    if cluster is None or options.layout == "kaggle" or not options.columns_of_logs.has_raw_text or options.split_by:
        raise ConfigurationError(
            f"{os.fspath(raw)}: a URL can only be the common beginning of day files, and needs --cluster. Copy other "
            "files to this machine."
        )
    remote = RemoteFolder(url)
    with tempfile.TemporaryDirectory(prefix="dlrm-pl-") as folder:
        try:
            remote.outline(beginning, Path(folder))
            yield Path(folder) / beginning, remote
        except DLRMError as error:
            raise type(error)(str(error).replace(folder, url)) from error


def _preprocess(request: _Request) -> PreprocessReport:
    """Turn logs into a dataset folder, or find that it already exists."""
    raw, options = request.raw, request.options
    if options.vocabulary_from is not None:
        given = DatasetFolder.open(options.vocabulary_from, rows=False)
        options = _with_cap_of(_with_columns_of(options, given), given)
    inputs = find_inputs(raw, options)
    options = inputs.within_memory(options)
    key = request.key(inputs, options)
    if request.published is not None:
        request.published.check(key)
    named, output = request.output, resolved(request.output)
    if _is_finished(output, key):
        if CheckpointFolder(output).path.exists():  # An earlier run was killed between its last two steps.
            with folder_lock(output):
                CheckpointFolder(output).remove()
        folder = DatasetFolder.open(named)
        folder.check_samples()
        return _report(folder, None)
    if request.cluster is not None and inputs.upstream is not None:
        raise ConfigurationError(
            f"{raw}: files of facebookresearch/dlrm cannot be converted on a cluster. Leave out --cluster."
        )
    absolute = inputs if request.cluster is None else find_inputs(raw.absolute(), options)
    rows = absolute.log(options)
    planned = PlannedOutput("preprocess", key, recognize_dataset, request.overwrite, _changes)
    with writing(named, planned):
        began = time.perf_counter()
        checkpoint = CheckpointFolder(output)
        unfinished = checkpoint.load()
        resumed = unfinished is not None and unfinished.key == key
        run: LogRun | UpstreamConversion | ClusterRun | DaysRun
        if request.cluster is not None:
            from dlrm_pl.data.preprocessing.cluster.run import ClusterRun

            assert rows is not None
            shown = {str(raw.absolute()): request.shown}
            run = ClusterRun(request.cluster, rows, options, key, output, shown, request.progress, request.remote)
            resumed |= run.resumes
        elif options.flavor == "torchrec":
            from dlrm_pl.data.preprocessing.torchrec.run import DaysRun

            run = DaysRun(inputs.days, options, key, checkpoint, request.progress)
        elif inputs.upstream is None:
            assert rows is not None
            run = LogRun(rows, options, key, checkpoint, request.progress)
        else:
            from dlrm_pl.data.preprocessing.upstream.convert import UpstreamConversion

            run = UpstreamConversion(inputs.upstream, options, key, checkpoint, request.progress)
        try:
            run.make()
            checkpoint.publish(output)
            return _report(DatasetFolder.open(named), time.perf_counter() - began, resumed)
        except ClusterError as error:
            kept = _keep(checkpoint, run)
            raise ClusterError(f"{error} {kept}" if checkpoint.path.exists() else str(error)) from error
        except DLRMError:
            checkpoint.remove()  # A run with a changed log or other options would start over anyway.
            raise
        except BaseException as error:
            kept = _keep(checkpoint, run)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                where = getattr(error, "machine", "")
                raise OutputError(
                    f"{output}: the disk is full{f' (on {where})' if where else ''}. {kept} Free some space first."
                ) from error
            log.warning("%s", kept)
            raise


def _keep(checkpoint: CheckpointFolder, run: LogRun | UpstreamConversion | ClusterRun | DaysRun) -> str:
    """Keep what can be resumed and delete the rest; returns a sentence that says which."""
    keep: Callable[[], str] = getattr(run, "keep", checkpoint.keep)
    return keep()


def _is_finished(output: Path, key: dict[str, Any]) -> bool:
    """Return whether a folder was made from the same logs with the same options."""
    found = recognize_dataset(output)
    return found is not None and found.made_by == "preprocess" and found.settings == key


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Like ``differences``, but for a file that may have been edited: empty if its contents make no sense."""
    try:
        return differences(old, new)
    except (AttributeError, KeyError, TypeError):
        return []


def _report(folder: DatasetFolder, seconds: float | None, resumed: bool = False) -> PreprocessReport:
    days = folder.report.get("days", ())
    return PreprocessReport(folder, tuple(day["kept"] for day in days), seconds, resumed)


def _with_columns_of(options: PreprocessOptions, folder: DatasetFolder) -> PreprocessOptions:
    """Return the options with the columns of the dataset whose vocabulary is used, and their means and deviations."""
    if options.columns is None:
        return replace(options, columns=folder.columns)
    known = {
        column.name: (column.mean, column.deviation)
        for column in folder.columns.dense
        if column.mean is not None and column.deviation is not None
    }
    names = [column.name for column in options.columns.dense if not column.computed]
    columns = options.columns.with_statistics({name: known[name] for name in names if name in known})
    apart = difference("the logs", columns, f"the vocabulary of {folder.path}", folder.columns)
    if apart:
        raise ConfigurationError(f"columns: {apart}. Leave --columns out to use those of the vocabulary.")
    return replace(options, columns=columns)


def _with_cap_of(options: PreprocessOptions, folder: DatasetFolder) -> PreprocessOptions:
    """Return the options with the ``max_ind_range`` of the dataset whose vocabulary is used."""
    default = PreprocessOptions.__dataclass_fields__["max_ind_range"].default
    if options.max_ind_range not in (default, folder.max_ind_range):
        raise ConfigurationError(
            f"max_ind_range={options.max_ind_range}, but the vocabulary of {folder.path} was made with "
            f"{folder.max_ind_range}. Leave --max_ind_range out."
        )
    return replace(options, max_ind_range=folder.max_ind_range)
