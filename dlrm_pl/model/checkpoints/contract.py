"""Architecture, columns and dataset that a checkpoint states, and whether they fit a model.

Lightning's file holds them in an entry ``dlrm_pl``: the format, the architecture, the dataset's fingerprint, and its
columns if they are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.columns.difference import difference
from dlrm_pl.documents.fields import make, shown
from dlrm_pl.errors import CheckpointError, ConfigurationError, DatasetError
from dlrm_pl.model.architecture import Architecture

KEY = "dlrm_pl"
FORMAT = 1
QUANTIZATION_KEY = "dlrm_pl_quantization"
"""Entry that holds the quantization that a model was trained with; missing if it was trained in floats."""


@dataclass(frozen=True)
class _Entry:
    """The file's entry, before it is checked."""

    format: int
    architecture: dict[str, Any]
    dataset_fingerprint: str
    columns: Any = None


@dataclass(frozen=True)
class CheckpointContract:
    """Architecture, dataset and columns that a checkpoint states.

    Attributes:
        architecture: shape of the model in the checkpoint.
        dataset_fingerprint: fingerprint of the dataset that the model was trained on; empty if it was not known.
        columns: columns of the dataset; None if they are not known. A model with the numbers of columns of Criteo's
            logs gets Criteo's columns unless others are given.

    Example:
        >>> from dlrm_pl import DLRMModule
        >>> module = DLRMModule([3, 4], embedding_dim=2, bottom_mlp=(13, 2), top_mlp=(1,), dataset_fingerprint="f00d")
        >>> module.contract.dataset_fingerprint
        'f00d'
    """

    architecture: Architecture
    dataset_fingerprint: str
    columns: Columns | None = None

    def __post_init__(self) -> None:
        """If no columns are given, take those of a model of Criteo's shape to be Criteo's."""
        if self.columns is None and not self.architecture.misfit(Columns.criteo()):
            object.__setattr__(self, "columns", Columns.criteo())

    def write(self, checkpoint: dict[str, Any]) -> None:
        """Add the entry to a checkpoint, as plain types, since checkpoints are loaded with ``weights_only=True``."""
        checkpoint[KEY] = {
            "format": FORMAT,
            "architecture": self.architecture.to_dict(),
            "dataset_fingerprint": self.dataset_fingerprint,
        }
        if self.columns is not None:
            checkpoint[KEY]["columns"] = self.columns.statement()

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any]) -> CheckpointContract:
        """Read the entry that ``write`` added.

        Raises:
            CheckpointError: the checkpoint is not one of this package, has a later format, or is corrupt.
        """
        stated = checkpoint.get(KEY)
        if not isinstance(stated, dict) or not isinstance(checkpoint.get("state_dict"), dict):
            raise CheckpointError(
                f"Not a dlrm_pl checkpoint: {KEY!r} and 'state_dict' are expected, but the file holds "
                f"{', '.join(sorted(shown(key) for key in checkpoint)[:8]) or 'nothing'}. Give a file that `fit` wrote."
            )
        if stated.get("format") != FORMAT:
            raise CheckpointError(
                f"The checkpoint has format {shown(stated.get('format'))}, but this version of dlrm_pl reads {FORMAT}. "
                "Use the version that wrote it."
            )
        entry = make(_Entry, stated, f"the entry {KEY!r}", CheckpointError, "The checkpoint is corrupt.")
        try:
            architecture = Architecture.from_dict(entry.architecture)
        except ConfigurationError as error:
            raise CheckpointError(
                f"The architecture in the checkpoint is invalid: {error} The checkpoint is corrupt."
            ) from error
        advice = "The checkpoint is corrupt."
        if entry.columns is None and architecture.pooling:
            raise CheckpointError(f"The checkpoint states a pooling but no columns. {advice}")
        if entry.columns is None:
            return cls(architecture, entry.dataset_fingerprint)
        columns = Columns.of_statement(entry.columns, "the columns in the checkpoint", CheckpointError, advice)
        if misfit := architecture.misfit(columns):
            raise CheckpointError(f"The columns in the checkpoint do not fit its architecture: {misfit}. {advice}")
        return cls(architecture, entry.dataset_fingerprint, columns)

    def check_fits(self, architecture: Architecture, dataset_fingerprint: str, columns: Columns | None = None) -> None:
        """Check that the checkpoint can be loaded into a model.

        Args:
            architecture: shape of the model; its table sizes are those of the dataset.
            dataset_fingerprint: fingerprint of the dataset; empty if it is not known.
            columns: columns of the dataset; None if they are not known.

        Raises:
            CheckpointError: the checkpoint has another architecture, dataset or columns; the message names the first
                difference and both values.
        """
        saved = self.architecture
        if self.columns is not None and columns is not None:
            other = difference("the checkpoint", self.columns, "the dataset", columns)
            if other:
                raise CheckpointError(f"{_capital(other)}. Use a dataset with the same columns, or train a new model.")
        sizes = _other_sizes("the checkpoint", saved.table_sizes, "the dataset", architecture.table_sizes)
        if sizes is not None:
            raise CheckpointError(f"{sizes}. Use the dataset that it was trained on, or train a new model.")
        for field in fields(saved):
            name, value, wanted = field.name, getattr(saved, field.name), getattr(architecture, field.name)
            if value != wanted:
                value, wanted = _plain(value), _plain(wanted)
                raise CheckpointError(
                    f"{name} is {value} in the checkpoint, but {wanted} in the model. Use the checkpoint's value."
                )
        if self.dataset_fingerprint and dataset_fingerprint and self.dataset_fingerprint != dataset_fingerprint:
            raise CheckpointError(
                f"The checkpoint was trained on the dataset {self.dataset_fingerprint}, but this one is "
                f"{dataset_fingerprint}: the table sizes agree, but the rows stand for other categories. "
                "Use the dataset that it was trained on."
            )

    def check_dataset(
        self, table_sizes: Sequence[int], dataset_fingerprint: str, columns: Columns | None = None
    ) -> None:
        """Check that a dataset is the one that the model was made for.

        Args:
            table_sizes: number of rows of each table of the dataset.
            dataset_fingerprint: fingerprint of the dataset; empty if it has none.
            columns: columns of the dataset; None if they are not known.

        Raises:
            DatasetError: it is another dataset; the message names the first column or table that differs, or both
                fingerprints.
        """
        self._check_numbers(columns)
        if other := self._other_dataset(table_sizes, dataset_fingerprint, columns):
            raise DatasetError(f"{other}. Use the dataset that the model was made for.")

    def check_usable(self, table_sizes: Sequence[int], dataset_fingerprint: str, columns: Columns | None = None) -> str:
        """Check that the model can look up a dataset's rows, whether or not it was made for that dataset.

        Args:
            table_sizes: number of rows of each table of the dataset.
            dataset_fingerprint: fingerprint of the dataset; empty if it has none.
            columns: columns of the dataset; None if they are not known.

        Returns:
            A description of how the dataset differs from the model's own; "" if it does not.

        Raises:
            DatasetError: the dataset has another number of columns, or a table that is larger than the model's; the
                message names both numbers.
        """
        self._check_numbers(columns, "The model cannot score the dataset's rows, not even with --force.")
        own = self.architecture.table_sizes
        if len(own) != len(table_sizes) or any(rows > held for rows, held in zip(table_sizes, own, strict=True)):
            larger = [(t, n) for t, n in enumerate(table_sizes) if t < len(own) and n > own[t]]
            reason = (
                f"table {larger[0][0]}: the dataset has {larger[0][1]} rows, the model {own[larger[0][0]]}"
                if larger
                else f"the dataset has {len(table_sizes)} tables, the model {len(own)}"
            )
            raise DatasetError(f"{reason}. The model cannot look up the dataset's rows, not even with --force.")
        return self._other_dataset(table_sizes, dataset_fingerprint, columns)

    def _check_numbers(self, columns: Columns | None, advice: str = "") -> None:
        """If the model's columns are not known, or with --force, refuse a dataset with other numbers of columns."""
        if columns is None or (self.columns is not None and not advice):
            return
        if misfit := self.architecture.misfit(columns, may_have_fewer_ids=bool(advice)):
            advice = advice or "Make the model with columns=datamodule.columns."
            raise DatasetError(f"The dataset does not fit the model: {misfit}. {advice}")

    def _other_dataset(self, table_sizes: Sequence[int], dataset_fingerprint: str, columns: Columns | None) -> str:
        """Describe how a dataset differs from the model's own; "" if it does not."""
        if self.columns is not None and columns is not None:
            other = difference("the dataset", columns, "the model", self.columns)
            if other:
                return _capital(other)
        sizes = _other_sizes("the dataset", table_sizes, "the model", self.architecture.table_sizes)
        if sizes is not None:
            return sizes
        if self.dataset_fingerprint and dataset_fingerprint and self.dataset_fingerprint != dataset_fingerprint:
            return (
                f"The dataset is {dataset_fingerprint}, but the model was made for {self.dataset_fingerprint}: the "
                "table sizes agree, but the rows stand for other categories"
            )
        return ""


def overruled(saved: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Describe the hyperparameters that a checkpoint overrides; "" if there are none.

    Args:
        saved: hyperparameters in the checkpoint.
        given: hyperparameters from files, flags or a module.
    """
    names = [name for name in given if name in saved and _differs(name, saved, given)]
    words = [f"{name}={_plain(saved[name])!r} instead of {_plain(given[name])!r}" for name in names]
    return f"using the checkpoint's hyperparameters: {'; '.join(words)}" if words else ""


def _differs(name: str, saved: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether two values of a hyperparameter differ; a width of 0 means the number of dense columns."""
    one, other = _plain(saved[name]), _plain(given[name])
    if name == "bottom_mlp" and one and other and 0 in (one[0], other[0]):
        return bool(one[1:] != other[1:])
    return bool(one != other)


def _capital(clause: str) -> str:
    """Capitalize a clause, to begin a sentence with it."""
    return clause[0].upper() + clause[1:]


def _plain(value: Any) -> Any:
    """Turn a tuple into a list, as in files."""
    return list(value) if isinstance(value, tuple) else value


def _other_sizes(name: str, sizes: Sequence[int], other_name: str, other_sizes: Sequence[int]) -> str | None:
    """Describe the first table whose number of rows differs."""
    if len(sizes) != len(other_sizes):
        return f"{name} has {len(sizes)} tables, {other_name} {len(other_sizes)}"
    for table, (rows, other_rows) in enumerate(zip(sizes, other_sizes, strict=True)):
        if rows != other_rows:
            return f"table {table}: {name} has {rows} rows, {other_name} {other_rows}"
    return None
