"""Write synthetic clicks: raw day files, or directly and fast the dataset folder that preprocessing them gives."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlrm_pl.data.formats.binary_format import (
    DENSE,
    LABEL,
    RECORD_DTYPE,
    RECORD_INTS,
    SPARSE,
    SPLITS,
    Split,
    split_file_name,
)
from dlrm_pl.data.formats.criteo_counts import NUM_SPARSE
from dlrm_pl.data.formats.dataset_folder import describe, recognize_dataset
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.report import warn_of_classes
from dlrm_pl.data.synthetic.best_auroc import BestAUROC
from dlrm_pl.data.synthetic.columns import HASH_CYCLE, MISSING_DENSE, MISSING_RANK
from dlrm_pl.data.synthetic.world import Block, ClickWorld, click_world
from dlrm_pl.documents.arguments import check_arguments, plain_number
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.atomic import atomic_folder
from dlrm_pl.files.replacement import FinishedOutput, PlannedOutput

Format = Literal["dataset", "raw"]
Integers = np.ndarray[Any, np.dtype[np.int64]]

RAW_DESCRIPTION_NAME = "synthetic.json"


@dataclass(frozen=True)
class SyntheticReport:
    """Summary of a ``synthesize`` run; ``str()`` gives it as text.

    Attributes:
        path: folder that was written.
        rows: number of rows of each split.
        positives: number of clicks of each split.
        best_possible_auroc: AUROC of the true click probabilities on the rows of each split; a split whose labels are
            all equal is left out.
        table_rows: number of rows of all tables together, which are the values that occur; 0 for raw logs.

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
            lines.append(f"  tables {NUM_SPARSE}, {self.table_rows:,} rows")
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
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> SyntheticReport:
    """Draw synthetic clicks with a known best AUROC, and write them as a dataset folder or as raw logs.

    The rows are independent, so train is written in the order drawn. Memory does not grow with the rows, except for the
    ids of the categories (at most 140 MB).

    Args:
        output: folder to write; it appears when it is complete.
        rows: number of rows of all days together.
        days: number of days of equal length (the first ones get a row more if needed); the last becomes test and val.
            With 4 days an eighth of the rows is test, enough to resolve an AUROC drop of 0.1 % with a million rows.
        seed: random seed of the effects and of the rows.
        label_rate: mean click probability.
        best_auroc: AUROC that the true click probabilities have in expectation.
        max_table_size: largest number of values of each table, of which the most frequent are kept; None for as many as
            Criteo's logs have.
        format: ``dataset`` for a dataset folder, ``raw`` for raw logs, one file per day.
        overwrite: replace an existing folder that was made with other arguments.
        progress: called with the number of rows written since the last call.

    Returns:
        What was written.

    Raises:
        ConfigurationError: an argument is out of range or of another type; names it and its value.
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
        raise ConfigurationError(f"label_rate={label_rate} must lie between 0 and 1.")
    if not 0.5 < best_auroc < 1:
        raise ConfigurationError(f"best_auroc={best_auroc} must lie between 0.5 and 1.")
    if max_table_size is not None and max_table_size < 2:
        raise ConfigurationError(f"max_table_size={max_table_size} must be at least 2.")
    world = click_world(seed, label_rate, best_auroc, max_table_size)
    lengths = [rows // days + (day < rows % days) for day in range(days)]
    last = lengths[-1]
    split_rows: dict[Split, int] = {"train": rows - last, "test": (last + 1) // 2, "val": last // 2}
    best: dict[str, BestAUROC] = {split: BestAUROC() for split in split_rows}
    options: dict[str, Any] = {
        "rows": rows,
        "days": days,
        "seed": seed,
        "label_rate": label_rate,
        "best_auroc": best_auroc,
    }
    options["max_table_size"] = max_table_size
    recognize = recognize_dataset if format == "dataset" else recognize_raw_logs
    with atomic_folder(output, PlannedOutput("synthesize", options, recognize, overwrite)) as folder:
        appearance = FirstAppearance(world.table_sizes) if format == "dataset" else None
        # Both formats hold the same rows in the same order; they differ in where the files are cut.
        if appearance is not None:
            files, lengths = [folder / split_file_name(split) for split in split_rows], list(split_rows.values())
        else:
            files = [folder / f"day_{day}" for day in range(days)]
        with ExitStack() as stack:
            handles = [stack.enter_context(path.open("wb")) for path in files]
            start = 0
            for block in world.blocks(rows):
                encoded = raw_lines(world, block) if appearance is None else records(world, block, appearance)
                for index, part in _cut(lengths, start, len(block.label)):
                    handles[index].write(b"".join(encoded[part]))
                for index, part in _cut(list(split_rows.values()), start, len(block.label)):
                    best[list(split_rows)[index]].add(block.logit[part], block.label[part])
                start += len(block.label)
                if progress is not None:
                    progress(len(block.label))
        aurocs: dict[str, float] = {
            split: best[split].compute() for split in SPLITS if 0 < best[split].positives < best[split].rows
        }
        if appearance is not None:
            Vocabulary(appearance.values(world)).save(folder)
            describe(
                folder,
                max_ind_range=HASH_CYCLE,
                created_by="synthesize",
                best_possible_auroc=aurocs,
                extra={"synthetic": options},
            )
        else:
            text = json.dumps({"synthetic": options, "best_possible_auroc": aurocs}, indent=2) + "\n"
            (folder / RAW_DESCRIPTION_NAME).write_text(text, encoding="utf-8")
    return SyntheticReport(
        path=output,
        rows=split_rows,
        positives={split: best[split].positives for split in SPLITS},
        best_possible_auroc=aurocs,
        table_rows=0 if appearance is None else int(sum(appearance.counts)),
    )


class FirstAppearance:
    """Give ids to ranks in the order in which they come, as preprocessing does.

    Args:
        table_sizes: number of ranks of each table.
    """

    def __init__(self, table_sizes: tuple[int, ...]) -> None:
        # Ids from 1 on: ranks that were not seen have 0, so pages that no row touches take neither time nor memory.
        # The last entry of each table is that of MISSING_RANK, which is -1.
        self._ids = [np.zeros(size + 1, np.int32) for size in table_sizes]
        self._seen: list[list[Integers]] = [[] for _ in table_sizes]
        self.counts = [0] * len(table_sizes)

    def __call__(self, table: int, ranks: Integers) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Return the ids of one table's ranks, ``[B]``; new ranks get the next ones."""
        ids = self._ids[table]
        new = ranks[ids[ranks] == 0]
        if len(new):
            # Without repetitions, in the order of the rows.
            _, first = np.unique(new, return_index=True)
            values = new[np.sort(first)]
            ids[values] = np.arange(self.counts[table] + 1, self.counts[table] + len(values) + 1, dtype=np.int32)
            self._seen[table].append(values)
            self.counts[table] += len(values)
        row_ids: np.ndarray[Any, np.dtype[np.int32]] = ids[ranks] - np.int32(1)
        return row_ids

    def values(self, world: ClickWorld) -> list[Integers]:
        """Return the raw values of each table in the order of their ids, modulo ``HASH_CYCLE``."""
        return [
            world.category_hash(table, np.concatenate([np.empty(0, np.int64), *seen])) % HASH_CYCLE
            for table, seen in enumerate(self._seen)
        ]


def records(world: ClickWorld, block: Block, appearance: FirstAppearance) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Rows as they stand in a dataset folder, int32 ``[B, 40]``."""
    result = np.empty((len(block.label), RECORD_INTS), RECORD_DTYPE)
    result[:, LABEL] = block.label
    result[:, DENSE] = np.maximum(block.columns.dense, 0).T
    for table, ranks in enumerate(block.columns.ranks):
        result[:, SPARSE.start + table] = appearance(table, ranks)
    return result


def raw_lines(world: ClickWorld, block: Block) -> list[bytes]:
    """Rows as they stand in a raw log, one line each."""
    columns = [np.where(block.label, b"1", b"0").tolist()]
    for dense in block.columns.dense:
        text = dense.astype("S11")
        text[dense == MISSING_DENSE] = b""
        columns.append(text.tolist())
    for table, ranks in enumerate(block.columns.ranks):
        text = _hexadecimal(world.category_hash(table, ranks))
        text[ranks == MISSING_RANK] = b""
        columns.append(text.tolist())
    return [b"\t".join(fields) + b"\n" for fields in zip(*columns, strict=True)]


def recognize_raw_logs(folder: Path) -> FinishedOutput | None:
    """Recognize a folder of raw logs that ``synthesize`` wrote; None for other folders."""
    contents = object_with(folder / RAW_DESCRIPTION_NAME, "synthetic")
    options = object_in(contents, "synthetic") if contents else None
    days = options.get("days") if options else None
    if not isinstance(days, int):
        return None
    names = (path.name for path in folder.iterdir() if re.fullmatch("day_(0|[1-9][0-9]{0,8})", path.name))
    ours = sorted(name for name in names if int(name.removeprefix("day_")) < days)
    return FinishedOutput("raw logs", "synthesize", options, (*ours, RAW_DESCRIPTION_NAME))


def _hexadecimal(values: Integers) -> np.ndarray[Any, np.dtype[np.bytes_]]:
    """Eight hexadecimal digits of each value, ``S8`` ``[B]``."""
    octets = values.astype(">u4").view(np.uint8).reshape(-1, 4)
    return _HEX_PAIRS[octets].reshape(-1).view("S8")


_HEX_PAIRS = np.array([f"{octet:02x}".encode() for octet in range(256)], dtype="S2")


def _cut(lengths: list[int], start: int, rows: int) -> Iterator[tuple[int, slice]]:
    """Which rows of a block that begins at ``start`` belong to which of the pieces that follow each other."""
    first = 0
    for index, length in enumerate(lengths):
        low, high = max(first - start, 0), min(first + length - start, rows)
        if low < high:
            yield index, slice(low, high)
        first += length
