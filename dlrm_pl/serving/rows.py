"""The rows that a prediction is asked for: a split of a dataset, or a raw log."""

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
    """Batches of the rows asked for.

    Args:
        artifact: that will score them; the dataset must be the one it was made for.
        data: the dataset folder.
        raw: a raw log, encoded with the dataset's vocabulary; None: the split.
        split: of the dataset.
        batch_size: rows at a time.
        force: take another dataset than the artifact was made for.

    Raises:
        DatasetError: another dataset.
        DataFormatError: a dictionary, or a block of rows that was looked at, is not what was written.
        ConfigurationError: no rows at a time.
    """
    folder = open_dataset(data, artifact, force, rows=raw is None)
    if batch_size < 1:
        raise ConfigurationError(f"batch_size={batch_size} must be at least 1.")
    if raw is not None:
        return RawLogDataset(raw, folder.vocabulary(), folder.max_ind_range, batch_size)
    return ClickDataset.of_split(folder, split).batches(batch_size)
