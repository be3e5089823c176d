"""A model that belongs to a dataset, whether Lightning trains it or not."""

from __future__ import annotations

from collections.abc import Sequence

from dlrm_pl.columns.columns import Columns
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.dlrm import DLRM


class OfDataset:
    """An object that holds a model, and knows the dataset that it was made for.

    Attributes:
        model: the model.
        dataset_fingerprint: fingerprint of the dataset whose dictionaries assigned the category ids.
        allow_other_dataset: let the model score rows of a dataset that it was not made for.
    """

    model: DLRM
    dataset_fingerprint: str
    allow_other_dataset: bool
    _columns: Columns | None

    @property
    def architecture(self) -> Architecture:
        """Architecture of the model."""
        return self.model.architecture

    @property
    def contract(self) -> CheckpointContract:
        """Architecture, dataset and columns that are written into a checkpoint."""
        return CheckpointContract(self.architecture, self.dataset_fingerprint, self._columns)

    @property
    def columns(self) -> Columns | None:
        """Columns of the rows that the model scores; None if they are not known."""
        return self.contract.columns

    def check_dataset(
        self, table_sizes: Sequence[int], dataset_fingerprint: str, columns: Columns | None = None
    ) -> str:
        """Check that a dataset is the one that this model was made for.

        Args:
            table_sizes: number of rows of each table of the dataset.
            dataset_fingerprint: fingerprint of the dataset; empty if it has none.
            columns: columns of the dataset; None if they are not known. A module that was made without columns adopts
                them.

        Returns:
            A description of the difference if ``allow_other_dataset`` permits it; otherwise "".

        Raises:
            DatasetError: it is another dataset; the message names the first column or table that differs, or both
                fingerprints. With ``allow_other_dataset``: a table of the dataset is larger than the model's.
        """
        if self._columns is None and columns is not None and not self.architecture.misfit(columns):
            self._columns = columns
        if self.allow_other_dataset:
            return self.contract.check_usable(table_sizes, dataset_fingerprint, columns)
        self.contract.check_dataset(table_sizes, dataset_fingerprint, columns)
        return ""


class CheckpointModel(OfDataset):
    """The model of a checkpoint, without the LightningModule around it, whose import takes seconds.

    Args:
        model: the model.
        contract: architecture, dataset and columns that the checkpoint states.
    """

    def __init__(self, model: DLRM, contract: CheckpointContract) -> None:
        self.model = model
        self.dataset_fingerprint = contract.dataset_fingerprint
        self.allow_other_dataset = False
        self._columns = contract.columns
