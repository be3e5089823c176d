"""Batches straight from raw rows, by an existing vocabulary: to score new rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch.utils.data import IterableDataset

from dlrm_pl.batch import ClickBatch, to_batch
from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.formats.raw_rows import RawDense, RawRows, RawSparse
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.raw_logs.reader import iter_raw_records
from dlrm_pl.data.sources.readers.endings import row_place
from dlrm_pl.data.sources.source import holds_table, open_source
from dlrm_pl.errors import ConfigurationError, DataFormatError
from dlrm_pl.files.destinations import kind_of


class RawLogDataset(IterableDataset[ClickBatch]):
    """The rows of a raw log, or of CSV, Parquet or Arrow files, in order, as batches.

    Labels may be missing, and are 0 then.

    Args:
        path: tab-separated log, plain or .gz; or a file with named columns, or a folder of such files.
        encoder: encoder of the dataset that the model was trained on.
        batch_size: most rows of a batch on each process.
        truncate_lists: whether to cut lists that are longer than their column allows, instead of refusing them.
        rank: number of this process, which reads all rows, and yields its share of each step.
        world_size: number of processes. All yield as many batches, of which the last may have no rows.

    Raises:
        ConfigurationError: there are several processes, and each would take other rows from a pipe.

    Attributes:
        encoder: the encoder.
        unseen: number of category values so far that the vocabulary does not have, of each sparse column; they get
            the row of ``Vocabulary.unseen_id``.
        cut_lists: number of lists so far that were cut.
    """

    def __init__(
        self,
        path: Path,
        encoder: RowEncoder,
        batch_size: int,
        *,
        truncate_lists: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if world_size > 1 and kind_of(path) == "sink":
            raise ConfigurationError(
                f"{path} is a pipe, of which each of {world_size} processes would read other rows. Give a file, or "
                "--trainer.devices 1."
            )
        self._path = path
        self.encoder = encoder
        self._batch_size = batch_size
        self._truncate_lists = truncate_lists
        self._rank = rank
        self._world_size = world_size
        self.unseen = np.zeros(encoder.columns.num_sparse, np.int64)
        self.cut_lists = 0

    def __iter__(self) -> Iterator[ClickBatch]:
        """Yield batch after batch.

        Raises:
            DataFormatError: the log is missing, corrupt or empty, or a row cannot be read.
        """
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
        for raw in iter_raw_records(
            self._path, 0, self._batch_size * self._world_size, labelled=False, columns=columns
        ):
            dense, sparse = raw[:, columns.dense_fields].T, raw[:, columns.sparse_fields].T
            label = raw[:, LABEL].astype("i4")
            yield RawRows(label, tuple(map(RawDense, dense)), tuple(map(RawSparse, sparse)))

    def _of_table(self) -> Iterator[RawRows]:
        columns = self.encoder.columns
        source = open_source(self._path, columns, labels="optional", truncate_lists=self._truncate_lists)
        for chunk in source.chunks():
            if chunk.bad:
                path, bad = source.files[chunk.file].path, chunk.bad[0]
                raise DataFormatError(f"{row_place(path, bad.row)}: {bad.reason}. Correct the row and predict again.")
            self.cut_lists += chunk.cut_lists
            yield chunk.rows
