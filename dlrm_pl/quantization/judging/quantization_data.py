"""What quantization needs from a data module of any class, and what it learns about rows by reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dlrm_pl.errors import ConfigurationError, DatasetError

if TYPE_CHECKING:
    from dlrm_pl.batch import ClickBatch


class QuantizationData(Protocol):
    """Three sets of rows that calibrate, tune and certify a quantized model, from a data module of any class.

    ``DLRMDataModule`` is one. Any other LightningDataModule only needs these four methods. No row may be in two sets: a
    drop measured on rows that were used before proves nothing. The loaders give ``ClickBatch`` on the CPU, with labels,
    and the same rows in the same order on every iteration.

    If the object also has the following, as ``DLRMDataModule`` does, they are used:

    * ``table_sizes``, ``dataset_fingerprint`` and ``columns``: compared with the model's, and stated in the artifact.
    * ``row_ranges`` with ``row_identities()`` and ``certification_checksum()``: which rows are in the sets. Without
      them, all rows are read once more to count them and to compute checksums.
    * ``best_possible_auroc(split)``: stated in the certificate.
    * ``require_quantizable(tuning=..., max_rows=...)``: called before training, to check the rows early.

    Example:
        >>> import pytorch_lightning as pl
        >>> from dlrm_pl import ClickBatch
        >>> class MyData(pl.LightningDataModule):
        ...     def __init__(self, calibration: list[ClickBatch], tuning: list[ClickBatch], test: list[ClickBatch]):
        ...         super().__init__()
        ...         self.sets = calibration, tuning, test
        ...
        ...     def calibration_dataloader(self):
        ...         return self.sets[0]
        ...
        ...     def tuning_dataloader(self):
        ...         return self.sets[1]
        ...
        ...     def certification_dataloader(self):
        ...         return self.sets[2]
        >>> data = MyData([], [], [])  # Then dlrm_pl.quantize(module, data), or a QuantizationCallback with fit.
    """

    def setup(self, stage: str) -> None:
        """Prepare the rows; called with ``"test"`` before the loaders are requested."""

    def calibration_dataloader(self) -> Iterable[ClickBatch]:
        """Return the batches that the observers see."""

    def tuning_dataloader(self) -> Iterable[ClickBatch]:
        """Return the batches that trials are scored on."""

    def certification_dataloader(self) -> Iterable[ClickBatch]:
        """Return the batches that only the final model is scored on."""


LOADERS = ("calibration_dataloader", "tuning_dataloader", "certification_dataloader")


def check_data(data: object) -> None:
    """Check that an object has the methods of ``QuantizationData``.

    Raises:
        ConfigurationError: it lacks one; the message names all that are missing.
    """
    missing = [name for name in ("setup", *LOADERS) if not callable(getattr(data, name, None))]
    if missing:
        what = "no data module" if data is None else f"{type(data).__name__}, which has no {', '.join(missing)}"
        raise ConfigurationError(
            f"Quantization needs a data module with calibration, tuning and certification rows, but got {what}. Use "
            "a DLRMDataModule, or add the methods that QuantizationData describes to yours."
        )


@dataclass(frozen=True)
class RowsRead:
    """What one pass over some rows reveals.

    Attributes:
        rows: number of rows.
        batch_size: number of rows in the largest batch.
        checksum: SHA-256 of their values, 16 hex digits; it depends on how the rows are divided into batches.
    """

    rows: int
    batch_size: int
    checksum: str


def read_rows(name: str, batches: Iterable[ClickBatch]) -> RowsRead:
    """Read batches once, and check them.

    Args:
        name: name of the set of rows, for messages.
        batches: batches that can be iterated over again.

    Raises:
        ConfigurationError: they can be read only once, or are not ``ClickBatch`` with labels.
        DatasetError: there are no rows; or all have the same label, except in calibration.
    """
    rows, largest, clicks = 0, 0, 0
    digest = hashlib.sha256()
    for batch in _checked(name, batches):
        rows, largest = rows + batch.num_samples, max(largest, batch.num_samples)
        clicks += int(batch.known_labels.sum())
        for tensor in batch:
            if tensor is not None:
                digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.contiguous().numpy().reshape(-1).view("u1").data)
    if not rows:
        raise DatasetError(f"{name}_dataloader() returned no rows.")
    if clicks in (0, rows) and name != "calibration":
        raise DatasetError(
            f"All {rows:,} labels of the {name} rows are {int(clicks > 0)}, so AUROC is undefined. Give rows of both "
            "classes."
        )
    return RowsRead(rows, largest, digest.hexdigest()[:16])


def _checked(name: str, batches: Iterable[Any]) -> Iterator[ClickBatch]:
    from dlrm_pl.batch import ClickBatch

    if isinstance(batches, Iterator) or not isinstance(batches, Iterable):
        raise ConfigurationError(
            f"{name}_dataloader() returned {type(batches).__name__}, which cannot be read twice. Return a DataLoader, "
            "a list, or another object whose __iter__ starts again."
        )
    for batch in batches:
        if not isinstance(batch, ClickBatch):
            raise ConfigurationError(
                f"{name}_dataloader() returned a batch of type {type(batch).__name__}. Return ClickBatch objects, "
                "for example from ClickBatch.from_arrays; a DataLoader of batches needs batch_size=None."
            )
        if batch.labels is None:
            raise ConfigurationError(f"{name}_dataloader() returned a batch without labels, which scoring needs.")
        yield batch


class FirstRows:
    """First rows of batches that can be iterated over repeatedly."""

    def __init__(self, batches: Iterable[ClickBatch], rows: int) -> None:
        self._batches = batches
        self._rows = rows

    def __iter__(self) -> Iterator[ClickBatch]:
        """Yield batches, of which the last may be cut."""
        from dlrm_pl.batch import first_samples

        left = self._rows
        for batch in self._batches:
            if batch.num_samples >= left:
                yield first_samples(batch, left)
                return
            left -= batch.num_samples
            yield batch
