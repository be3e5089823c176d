"""Batches directly from raw rows, with an existing vocabulary, to score new rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import IterableDataset

from dlrm_pl.batch import ClickBatch, to_batch
from dlrm_pl.data.formats.raw_rows import RawRows
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.loading.ahead import made_ahead
from dlrm_pl.data.loading.raw_text import text_rows
from dlrm_pl.data.sources.kept import KeptColumns, table_of_text
from dlrm_pl.data.sources.readers.endings import row_place
from dlrm_pl.data.sources.source import holds_table, open_source
from dlrm_pl.errors import ConfigurationError, DataFormatError
from dlrm_pl.files.destinations import kind_of


class RawLogDataset(IterableDataset[ClickBatch]):
    """Rows of a raw log, or of CSV, Parquet or Arrow files, in order, as batches that a thread makes ahead.

    Missing labels are 0.

    Args:
        path: tab-separated log, plain or .gz, also through a pipe; or a file with named columns, or a folder of such
            files.
        encoder: encoder of the dataset that the model was trained on.
        batch_size: maximum number of rows in a batch on each process.
        truncate_lists: whether to truncate lists that are longer than their column allows, instead of refusing them.
        keep: names of columns to keep unchanged in ``kept``, for the code that scores the rows.
        rank: number of this process. It reads all rows, and yields its share of each step.
        world_size: number of processes. All of them yield the same number of batches; the last one may have no rows.

    Raises:
        ConfigurationError: there are several processes, and each would read different rows from a pipe, or keep columns
            of different rows.

    Attributes:
        encoder: the encoder.
        kept: kept columns of the rows that were yielded and not yet taken out; None if no columns are kept.
        unseen: number of category values so far that are not in the vocabulary, for each sparse column; they get the
            row of ``Vocabulary.unseen_id``.
        cut_lists: number of lists that were truncated so far.
    """

    def __init__(
        self,
        path: Path,
        encoder: RowEncoder,
        batch_size: int,
        *,
        truncate_lists: bool = False,
        keep: Sequence[str] = (),
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if world_size > 1 and kind_of(path) == "sink":
            raise ConfigurationError(
                f"{path} is a pipe, from which each of {world_size} processes would read different rows. Give a "
                "file, or --trainer.devices 1."
            )
        if world_size > 1 and keep:
            raise ConfigurationError(
                f"keep={list(keep)}: with {world_size} processes that share the rows, columns cannot be kept. Give "
                "--trainer.devices 1."
            )
        self._path = path
        self.encoder = encoder
        self._batch_size = batch_size
        self._truncate_lists = truncate_lists
        self._keep = tuple(keep)
        self.kept = KeptColumns(keep) if keep else None
        self._rank = rank
        self._world_size = world_size
        self.unseen = np.zeros(encoder.columns.num_sparse, np.int64)
        self.cut_lists = 0

    def __iter__(self) -> Iterator[ClickBatch]:
        """Yield batch after batch.

        Raises:
            DataFormatError: the log is missing, corrupt or empty, or a row cannot be read, or a column to keep is
                missing.
            ConfigurationError: the rows come through a pipe, and their columns cannot be in a raw log.
        """
        return made_ahead(self._batches())

    def _batches(self) -> Iterator[ClickBatch]:
        self.unseen, self.cut_lists = np.zeros(self.encoder.columns.num_sparse, np.int64), 0
        found = False
        for rows in self._of_table() if holds_table(self._path, self.encoder.columns) else self._of_log():
            records, unseen = self.encoder.encode_counted(rows)
            self.unseen = self.unseen + unseen
            found = found or bool(len(records))
            for start in range(0, len(records), self._batch_size * self._world_size):
                step = records[start : start + self._batch_size * self._world_size]
                first, last = (len(step) * rank // self._world_size for rank in (self._rank, self._rank + 1))
                yield to_batch(step[first:last], self.encoder.columns)
        if not found:
            raise DataFormatError(f"{self._path}: is empty. Name a log with at least one row.")

    def _of_log(self) -> Iterator[RawRows]:
        columns = self.encoder.columns
        for block in text_rows(self._path, columns):
            if self.kept is not None:
                labelled = block.label != "absent"
                self.kept.require(columns, str(self._path), labelled=labelled)
                self.kept.add(table_of_text(bytes(block.text), columns, self._keep, labelled=labelled))
            yield block.rows

    def _of_table(self) -> Iterator[RawRows]:
        columns = self.encoder.columns
        if kind_of(self._path) == "sink":
            raise ConfigurationError(
                f"{self._path}: is a pipe, through which only a raw log can be read, but column "
                f"{columns.not_raw_text} cannot be in one. Give the CSV, Parquet or Arrow file itself."
            )
        source = open_source(
            self._path, columns, labels="optional", truncate_lists=self._truncate_lists, also=self._keep
        )
        for raw in source.raw_chunks():
            chunk = source.convert(raw)
            if chunk.bad:
                path, bad = source.files[chunk.file].path, chunk.bad[0]
                raise DataFormatError(f"{row_place(path, bad.row)}: {bad.reason}. Correct the row and predict again.")
            self.cut_lists += chunk.cut_lists
            if self.kept is not None:
                self.kept.add(raw.table)
            yield chunk.rows
