"""Write synthetic clicks: as logs by day, or directly, and faster, as the dataset folder that preprocessing gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, Split, split_file_name
from dlrm_pl.data.formats.finished_dataset import describe, recognize_dataset
from dlrm_pl.data.preprocessing.statistics.moments import Moments
from dlrm_pl.data.preprocessing.statistics.report import warn_of_classes
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.synthetic.best_auroc import BestAUROC
from dlrm_pl.data.synthetic.encoding import FirstAppearance, moments_of, raw_lines, records
from dlrm_pl.data.synthetic.files import (
    RAW_DESCRIPTION_NAME,
    TABLE_DESCRIPTION_NAME,
    ByteFiles,
    Files,
    TableFiles,
    describe_logs,
    recognize_raw_logs,
    recognize_tables,
)
from dlrm_pl.data.synthetic.values import HASH_CYCLE
from dlrm_pl.data.synthetic.world import ClickWorld, click_world
from dlrm_pl.documents.arguments import check_arguments, plain_number
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.atomic import atomic_folder
from dlrm_pl.files.replacement import PlannedOutput

Format = Literal["dataset", "raw", "csv", "parquet"]

_RECOGNIZE = {
    "dataset": recognize_dataset,
    "raw": recognize_raw_logs,
    "csv": recognize_tables,
    "parquet": recognize_tables,
}


@dataclass(frozen=True)
class SyntheticReport:
    """Summary of a ``synthesize`` run; ``str()`` gives it as text.

    Attributes:
        path: folder that was written.
        rows: number of rows of each split.
        positives: number of clicks of each split.
        best_possible_auroc: AUROC of the true click probabilities on the rows of each split; a split whose labels are
            all equal is left out.
        table_rows: total number of rows of all tables: the number of values that occur, or of possible ids; 0 for logs.
        tables: number of tables.

    Example:
        >>> import tempfile
        >>> import dlrm_pl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = dlrm_pl.synthesize(f"{folder}/clicks", rows=3000, days=3, max_table_size=50)
        >>> report.rows
        {'train': 2000, 'test': 500, 'val': 500}
    """

    path: Path
    rows: dict[Split, int]
    positives: dict[Split, int]
    best_possible_auroc: dict[str, float]
    table_rows: int
    tables: int

    def __str__(self) -> str:
        """Return the summary as a few lines of text."""
        lines = [f"{self.path}: {sum(self.rows.values()):,} rows"]
        for split in SPLITS:
            rate = self.positives[split] / self.rows[split]
            lines.append(
                f"  {split:<6}{self.rows[split]:>12,} rows, {rate:.3%} clicks, best possible AUROC "
                + (f"{self.best_possible_auroc[split]:.6f}" if split in self.best_possible_auroc else "undefined")
            )
        if self.table_rows:
            lines.append(f"  tables {self.tables}, {self.table_rows:,} rows")
        counts = [(split, self.rows[split], self.positives[split]) for split in SPLITS]
        lines += [f"  warning: {warning}" for warning in warn_of_classes(counts)]
        return "\n".join(lines)


def synthesize(
    output: str | os.PathLike[str],
    *,
    rows: int = 1_000_000,
    days: int = 4,
    seed: int = 2024,
    label_rate: float = 0.033,
    best_auroc: float = 0.82,
    max_table_size: int | None = None,
    format: Format = "dataset",
    columns: Columns | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> SyntheticReport:
    """Draw synthetic clicks with a known best AUROC, and write them as a dataset folder or as logs.

    The rows are independent, so train is written in the order drawn. Memory does not grow with the rows, except for the
    ids of the categories (at most 140 MB).

    Args:
        output: folder to write; it appears only when it is complete.
        rows: total number of rows of all days.
        days: number of days of equal length (the first ones get one row more if needed); the last day becomes test and
            val. With 4 days, an eighth of the rows is test, enough to resolve an AUROC drop of 0.1 % with a million
            rows.
        seed: random seed for the effects and the rows.
        label_rate: mean click probability.
        best_auroc: expected AUROC of the true click probabilities.
        max_table_size: maximum number of values of each table, of which the most frequent are kept; None for as many as
            in Criteo's logs.
        format: ``dataset`` for a dataset folder. The other formats write one file per day: ``raw`` for raw logs like
            Criteo's, ``csv`` or ``parquet`` for files with named columns. ``preprocess`` turns these into the same
            dataset, with another order of the training rows.
        columns: columns of the rows; None for Criteo's. Lists need ``dataset`` or ``parquet``.
        overwrite: whether to replace an existing folder that was made with other arguments.
        progress: called with the number of rows written since the last call.

    Returns:
        A summary of what was written.

    Raises:
        ConfigurationError: an argument is out of range or has the wrong type, the format cannot hold the columns, or
            pyarrow is needed but not installed; the message names the argument and its value.
        OutputError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from dlrm_pl import synthesize
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = synthesize(f"{folder}/clicks", rows=1000, max_table_size=100)
        >>> report.rows
        {'train': 750, 'test': 125, 'val': 125}
    """
    check_arguments(synthesize, locals())
    output, rows, days, seed = Path(output).expanduser(), int(rows), int(days), int(seed)
    label_rate, best_auroc = plain_number(label_rate), plain_number(best_auroc)
    max_table_size = plain_number(max_table_size)
    if seed < 0:
        raise ConfigurationError(f"seed={seed} must be 0 or more.")
    if days < 2:
        raise ConfigurationError(f"days={days}: at least 2 are needed, one for training and one for testing.")
    if rows < 2 * days:
        raise ConfigurationError(f"rows={rows} is too small for {days} days: at least {2 * days} are needed.")
    if not 0 < label_rate < 1:
        raise ConfigurationError(f"label_rate={label_rate} must be between 0 and 1.")
    if not 0.5 < best_auroc < 1:
        raise ConfigurationError(f"best_auroc={best_auroc} must be between 0.5 and 1.")
    if max_table_size is not None and max_table_size < 2:
        raise ConfigurationError(f"max_table_size={max_table_size} must be at least 2.")
    columns = columns or Columns.criteo()
    _check_format(format, columns)
    world = click_world(seed, label_rate, best_auroc, max_table_size, columns)
    days_rows = [rows // days + (day < rows % days) for day in range(days)]
    last = days_rows[-1]
    split_rows: dict[Split, int] = {"train": rows - last, "test": (last + 1) // 2, "val": last // 2}
    best: dict[Split, BestAUROC] = {split: BestAUROC() for split in split_rows}
    options: dict[str, Any] = {
        "rows": rows,
        "days": days,
        "seed": seed,
        "label_rate": label_rate,
        "best_auroc": best_auroc,
        "max_table_size": max_table_size,
    }
    # Left out if it is the default, so that outputs of earlier versions are recognized.
    if not columns.is_criteo:
        options["columns"] = columns.statement()
    if format in ("csv", "parquet"):
        options["format"] = format
    with atomic_folder(output, PlannedOutput("synthesize", options, _RECOGNIZE[format], overwrite)) as folder:
        appearance = FirstAppearance(world.marginals.sizes)
        # All formats hold the same rows in the same order; they differ only in where one file ends and the next begins.
        lengths = list(split_rows.values()) if format == "dataset" else days_rows
        with ExitStack() as stack:
            if format == "dataset":
                columns = _with_statistics(world, split_rows["train"])
                files: Files = ByteFiles(
                    [folder / split_file_name(split) for split in split_rows],
                    partial(records, world, appearance=appearance, columns=columns),
                    stack,
                )
            elif format == "raw":
                files = ByteFiles([folder / f"day_{day}" for day in range(days)], partial(raw_lines, world), stack)
            else:
                files = TableFiles([folder / f"day_{day}.{format}" for day in range(days)], format, world, stack)
            start = 0
            for block in world.blocks(rows):
                encoded = files.encode(block)
                for file, part in _cut(lengths, start, len(block.label)):
                    files.write(file, encoded, part)
                for index, part in _cut(list(split_rows.values()), start, len(block.label)):
                    best[list(split_rows)[index]].add(block.logit[part], block.label[part])
                start += len(block.label)
                if progress is not None:
                    progress(len(block.label))
        aurocs: dict[str, float] = {
            split: best[split].compute() for split in SPLITS if 0 < best[split].positives < best[split].rows
        }
        table_rows = 0
        if format == "dataset":
            vocabulary = appearance.vocabulary(world)
            vocabulary.save(folder)
            table_rows = sum(vocabulary.sizes)
            describe(
                folder,
                max_ind_range=HASH_CYCLE,
                created_by="synthesize",
                columns=columns,
                best_possible_auroc=aurocs,
                extra={"synthetic": options},
            )
        else:
            name = RAW_DESCRIPTION_NAME if format == "raw" else TABLE_DESCRIPTION_NAME
            describe_logs(folder / name, options, aurocs)
    return SyntheticReport(
        path=output,
        rows=split_rows,
        positives={split: best[split].positives for split in SPLITS},
        best_possible_auroc=aurocs,
        table_rows=table_rows,
        tables=columns.num_sparse,
    )


def _check_format(format: Format, columns: Columns) -> None:
    """Check that a format can hold rows.

    Raises:
        ConfigurationError: the format cannot hold them, or needs a library that is not installed.
    """
    if format == "raw" and not columns.has_raw_text:
        raise ConfigurationError(
            "format=raw is for columns like Criteo's: integers with log1p, and hexadecimal values without lists. "
            "Choose dataset, csv or parquet."
        )
    lists = [column.name for column in columns.sparse if column.is_list]
    if format == "csv" and lists:
        raise ConfigurationError(f"format=csv cannot hold the lists of column {lists[0]}. Choose dataset or parquet.")
    if format in ("csv", "parquet"):
        arrow()


def _with_statistics(world: ClickWorld, rows: int) -> Columns:
    """Return the columns of a world with the means and deviations of its first rows, from a separate pass."""
    if all(column.computed for column in world.columns.dense):
        return world.columns
    moments = Moments.nothing(world.columns)
    for block in world.blocks(rows):
        moments.add(moments_of(world, block))
    return world.columns.with_statistics(moments.statistics(world.columns))


def _cut(lengths: list[int], start: int, rows: int) -> Iterator[tuple[int, slice]]:
    """Yield which rows of a block that begins at ``start`` belong to which of several consecutive pieces."""
    first = 0
    for index, length in enumerate(lengths):
        low, high = max(first - start, 0), min(first + length - start, rows)
        if low < high:
            yield index, slice(low, high)
        first += length
