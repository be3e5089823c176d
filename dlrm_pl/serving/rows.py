"""Read the rows to score from a split of a dataset, or from raw rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.artifact.verification.originals import open_dataset
from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.binary_format import Split
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.raw_dataset import RawLogDataset
from dlrm_pl.data.sources.kept import KeptColumns, kept_of_split
from dlrm_pl.errors import ConfigurationError


class RowsToPredict(NamedTuple):
    """Rows to score.

    Attributes:
        batches: their batches.
        kept: columns of the rows that will be written next to the probabilities; None: none.
        num_rows: number of rows; None if it is known only at the end.
    """

    batches: Iterable[ClickBatch]
    kept: KeptColumns | None
    num_rows: int | None


def batches_to_predict(
    artifact: Artifact,
    data: Path | None,
    raw: Path | None,
    split: Split,
    batch_size: int,
    *,
    force: bool = False,
    truncate_lists: bool = False,
    keep: Sequence[str] = (),
) -> RowsToPredict:
    """Read rows in batches, after checking that the artifact can score them.

    Args:
        artifact: the artifact that will score the rows; the dataset must be the one that it was made for.
        data: the dataset folder; None: the raw rows are encoded by the artifact's own dictionaries.
        raw: a raw log, or files with named columns; None: read a split of the dataset.
        split: the split to read.
        batch_size: rows per batch.
        force: allow a dataset other than the one that the artifact was made for.
        truncate_lists: cut lists of raw rows that are longer than their column allows.
        keep: names of columns to write next to the probabilities.

    Raises:
        DatasetError: the artifact was made for another dataset.
        DataFormatError: a dictionary, or a block of rows that was checked, was changed after it was written.
        ConfigurationError: ``batch_size`` is below 1; or there are no rows, or no dictionaries for raw ones.
    """
    if data is None and raw is None:
        raise ConfigurationError("There are no rows to score. Give --data, the dataset folder, or --raw, a log.")
    folder = None if data is None else open_dataset(data, artifact, force, rows=raw is None)
    if batch_size < 1:
        raise ConfigurationError(f"batch_size={batch_size} must be at least 1.")
    if raw is not None:
        encoder = artifact.encoder if folder is None else folder.encoder
        dataset = RawLogDataset(raw, encoder, batch_size, truncate_lists=truncate_lists, keep=keep)
        return RowsToPredict(dataset, dataset.kept, None)
    assert folder is not None
    rows = ClickDataset.of_split(folder, split)
    return RowsToPredict(rows.batches(batch_size), kept_of_split(folder, split, keep) if keep else None, len(rows))
