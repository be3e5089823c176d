"""Batches straight from a raw log, by an existing vocabulary: to score new rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch.utils.data import IterableDataset

from dlrm_pl.batch import ClickBatch, to_batch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPARSE
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.raw_logs.reader import iter_raw_records
from dlrm_pl.errors import DataFormatError


class RawLogDataset(IterableDataset[ClickBatch]):
    """The rows of a raw log in order, as batches. Labels may be empty, or missing in all lines, and are 0 then.

    Args:
        path: tab-separated log, plain or .gz.
        vocabulary: vocabulary of the dataset that the model was trained on.
        max_ind_range: modulus of its raw values.
        batch_size: rows per batch.

    Attributes:
        unseen: number of category values so far that the vocabulary does not have; they are scored as missing.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary, max_ind_range: int, batch_size: int) -> None:
        self._path = path
        self._vocabulary = vocabulary
        self._max_ind_range = max_ind_range
        self._batch_size = batch_size
        self.unseen = 0

    def __iter__(self) -> Iterator[ClickBatch]:
        """Yield batch after batch.

        Raises:
            DataFormatError: the log is missing, corrupt or empty, or a line cannot be parsed.
        """
        self.unseen = 0
        rows = 0
        for raw in iter_raw_records(self._path, self._max_ind_range, self._batch_size, labelled=False):
            ids, unseen = self._vocabulary.encode(raw[:, SPARSE])
            self.unseen += unseen
            rows += len(raw)
            records = raw.astype(np.int32)
            records[:, SPARSE] = ids
            yield to_batch(records, Columns.criteo())
        if not rows:
            raise DataFormatError(f"{self._path}: is empty. Name a raw log with at least one line.")
