"""What a checkpoint states of itself, and whether that fits a model.

Lightning's file has one key more, ``dlrm_pl``: the format, the architecture and the fingerprint of the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlrm_pl.documents.fields import make, shown
from dlrm_pl.errors import CheckpointError, ConfigurationError, DatasetError
from dlrm_pl.model.architecture import Architecture

KEY = "dlrm_pl"
FORMAT = 1


@dataclass(frozen=True)
class _Stated:
    """The entry as it stands in the file."""

    format: int
    architecture: dict[str, Any]
    dataset_fingerprint: str


@dataclass(frozen=True)
class CheckpointContract:
    """What a checkpoint states of itself.

    Attributes:
        architecture: of the model in it.
        dataset_fingerprint: of the dataset that it was trained on; empty when none was known.
    """

    architecture: Architecture
    dataset_fingerprint: str

    def write(self, checkpoint: dict[str, Any]) -> None:
        """Add it to a checkpoint; plain types, since checkpoints are loaded with ``weights_only=True``."""
        checkpoint[KEY] = {
            "format": FORMAT,
            "architecture": self.architecture.to_dict(),
            "dataset_fingerprint": self.dataset_fingerprint,
        }

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any]) -> CheckpointContract:
        """The inverse of ``write``.

        Raises:
            CheckpointError: not our checkpoint, of a later format, or damaged.
        """
        stated = checkpoint.get(KEY)
        if not isinstance(stated, dict) or not isinstance(checkpoint.get("state_dict"), dict):
            raise CheckpointError(
                f"Not a dlrm_pl checkpoint: it has no {KEY!r} and state_dict, but "
                f"{', '.join(sorted(shown(key) for key in checkpoint)[:8]) or 'nothing'}. Give a file that `fit` wrote."
            )
        if stated.get("format") != FORMAT:
            raise CheckpointError(
                f"The checkpoint has format {shown(stated.get('format'))}, this version reads {FORMAT}. "
                "Use the version of dlrm_pl that wrote it."
            )
        found = make(_Stated, stated, f"the entry {KEY!r}", CheckpointError, "The checkpoint is damaged.")
        try:
            architecture = Architecture.from_dict(found.architecture)
        except ConfigurationError as error:
            raise CheckpointError(f"The checkpoint states no valid architecture: {error} It is damaged.") from error
        return cls(architecture, found.dataset_fingerprint)

    def check_fits(self, architecture: Architecture, dataset_fingerprint: str) -> None:
        """Check that the checkpoint can be loaded into a model.

        Args:
            architecture: of the model, whose table sizes are the dataset's.
            dataset_fingerprint: of the dataset at hand; empty when none is known.

        Raises:
            CheckpointError: another architecture or dataset; names the first difference and both values.
        """
        saved = self.architecture
        difference = _difference("the checkpoint", saved.table_sizes, "the dataset", architecture.table_sizes)
        if difference is not None:
            raise CheckpointError(f"{difference}. Use the dataset that it was trained on, or train anew.")
        for name, value in saved.to_dict().items():
            wanted = architecture.to_dict()[name]
            if value != wanted:
                raise CheckpointError(
                    f"{name} is {value} in the checkpoint, {wanted} in the model. Use the checkpoint's value."
                )
        if self.dataset_fingerprint and dataset_fingerprint and self.dataset_fingerprint != dataset_fingerprint:
            raise CheckpointError(
                f"The checkpoint was trained on the dataset {self.dataset_fingerprint}, this one is "
                f"{dataset_fingerprint}: table sizes agree, but rows would mean other categories. "
                "Use the dataset that it was trained on."
            )

    def check_dataset(self, table_sizes: Sequence[int], dataset_fingerprint: str) -> None:
        """Check that a dataset is the one that a model is for.

        Args:
            table_sizes: of the dataset.
            dataset_fingerprint: of the dataset; empty when it has none.

        Raises:
            DatasetError: another dataset; names the first table that differs, or both fingerprints.
        """
        if difference := self._other_dataset(table_sizes, dataset_fingerprint):
            raise DatasetError(f"{difference}. Use the dataset that the model is for.")

    def check_usable(self, table_sizes: Sequence[int], dataset_fingerprint: str) -> str:
        """Check that a model can look up the rows of a dataset, whether or not it was made for it.

        Returns:
            How the dataset differs from the model's own, in words; "" when it does not.

        Raises:
            DatasetError: another number of tables, or one that is larger than the model's; names both sizes.
        """
        own = self.architecture.table_sizes
        if len(own) != len(table_sizes) or any(rows > held for rows, held in zip(table_sizes, own, strict=True)):
            larger = [(t, n) for t, n in enumerate(table_sizes) if t < len(own) and n > own[t]]
            what = (
                f"table {larger[0][0]}: the dataset has {larger[0][1]} rows, the model {own[larger[0][0]]}"
                if larger
                else f"the dataset has {len(table_sizes)} tables, the model {len(own)}"
            )
            raise DatasetError(f"{what}, so its rows cannot be looked up, not even by force.")
        return self._other_dataset(table_sizes, dataset_fingerprint)

    def _other_dataset(self, table_sizes: Sequence[int], dataset_fingerprint: str) -> str:
        """How a dataset differs from the model's, in words; "" when it does not."""
        difference = _difference("the dataset", table_sizes, "the model", self.architecture.table_sizes)
        if difference is not None:
            return difference
        if self.dataset_fingerprint and dataset_fingerprint and self.dataset_fingerprint != dataset_fingerprint:
            return (
                f"The dataset is {dataset_fingerprint}, the model is for {self.dataset_fingerprint}: table sizes "
                "agree, but rows would mean other categories"
            )
        return ""


def overruled(saved: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Which hyperparameters that were given a checkpoint has with another value, in words; "" where there is none.

    Args:
        saved: those of the checkpoint.
        given: those of files, flags or a module.
    """
    names = [name for name in given if name in saved and _plain(saved[name]) != _plain(given[name])]
    words = [f"{name}={_plain(saved[name])!r}, not {_plain(given[name])!r}" for name in names]
    return f"the hyperparameters of the checkpoint count: {'; '.join(words)}" if words else ""


def _plain(value: Any) -> Any:
    """A tuple of the constructor is a list in a file."""
    return list(value) if isinstance(value, tuple) else value


def _difference(one: str, sizes: Sequence[int], other: str, other_sizes: Sequence[int]) -> str | None:
    """The first table whose number of rows differs, in words."""
    if len(sizes) != len(other_sizes):
        return f"{one} has {len(sizes)} tables, {other} {len(other_sizes)}"
    for table, (rows, other_rows) in enumerate(zip(sizes, other_sizes, strict=True)):
        if rows != other_rows:
            return f"table {table}: {one} has {rows} rows, {other} {other_rows}"
    return None
