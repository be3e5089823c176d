"""Read the rows to predict from a split of a dataset, or from a raw log."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.artifact.verify import open_dataset
from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.binary_format import Split
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.raw_dataset import RawLogDataset
from dlrm_pl.errors import ConfigurationError


def batches_to_predict(
    artifact: Artifact, data: Path, raw: Path | None, split: Split, batch_size: int, force: bool = False
) -> Iterable[ClickBatch]:
    """Read rows in batches, after checking that the artifact can score them.

    Args:
        artifact: the artifact that will score the rows; the dataset must be the one that it was made for.
        data: the dataset folder.
        raw: a raw log, whose values the dataset's dictionaries encode; None: read a split of the dataset.
        split: the split to read.
        batch_size: rows per batch.
        force: allow another dataset than the one that the artifact was made for.

    Raises:
        DatasetError: the artifact was made for another dataset.
        DataFormatError: a dictionary, or a block of rows that was checked, was changed after it was written.
        ConfigurationError: ``batch_size`` is below 1.
    """
    folder = open_dataset(data, artifact, force, rows=raw is None)
    if batch_size < 1:
        raise ConfigurationError(f"batch_size={batch_size} must be at least 1.")
    if raw is not None:
        return RawLogDataset(raw, folder.encoder, batch_size)
    return ClickDataset.of_split(folder, split).batches(batch_size)
