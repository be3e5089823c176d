"""An opened checkpoint of another program, and its conversion table by table, whatever its size."""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import DatasetError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.checked_tensor import CheckedTensor
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.torch_file.writer import write_torch_file

log = logging.getLogger(__name__)

ORIGIN_KEY = "reference"
"""Entry of an imported checkpoint that states its origin; named before upstream was called upstream."""


@dataclass(frozen=True)
class KnownDataset:
    """What is known about the dataset that a checkpoint was trained on.

    Attributes:
        path: file or folder that states it.
        table_sizes: number of rows of each table.
        fingerprint: fingerprint of the dataset; empty if only its table sizes are known.
        columns: columns of the dataset; None if they are not known.
    """

    path: Path
    table_sizes: Sequence[int]
    fingerprint: str = ""
    columns: Columns | None = None


@dataclass(frozen=True)
class ForeignCheckpoint:
    """A checkpoint of another program, opened and understood.

    Attributes:
        path: the file or folder.
        format: ``zip`` or ``legacy`` for torch's files, ``dcp`` or ``snapshot`` for folders.
        architecture: architecture of the model.
        tensors: the weights, by our names of the parameters; each carries its name in the other program.
        metadata: plain values that the checkpoint holds besides the weights.
        left_out: names of entries that are not kept.
        remarks: lines to log when the checkpoint is written.
    """

    path: Path
    format: str
    architecture: Architecture
    tensors: Mapping[str, CheckedTensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    remarks: Sequence[str] = ()

    @property
    def nbytes(self) -> int:
        """Size of all weights as float32, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def nonfinite_rows(self) -> dict[str, int]:
        """Count rows with NaN or infinity, by the other program's names; complete after all tensors were copied."""
        return {tensor.name: tensor.nonfinite_rows for tensor in self.tensors.values() if tensor.nonfinite_rows}

    def write(
        self, target: Path, dataset: KnownDataset | None = None, progress: Callable[[int], None] | None = None
    ) -> None:
        """Write a checkpoint of this package.

        ``fit --ckpt_path`` starts a new training from its weights, with the optimizer and schedule from its own
        options.

        Args:
            target: file to write; it appears whole or not at all.
            dataset: the dataset that the model was trained on, if it is known.
            progress: called with the number of bytes written since the last call.

        Raises:
            DatasetError: the dataset has other table sizes; the message names the first table that differs, and both
                sizes.
            CheckpointError: the file is corrupt or was changed.
            OutputError: the target cannot be written, or the disk has too little space.
        """
        contract = self._contract(dataset)
        converted = sorted({str(t.converted_from) for t in self.tensors.values() if t.converted_from is not None})
        if converted:
            log.warning("%s: converting weights of type %s to torch.float32.", self.path, " and ".join(converted))
        for remark in self.remarks:
            log.info("%s: %s", self.path, remark)
        if kind := {"legacy": "torch before 1.6", "snapshot": "torchsnapshot"}.get(self.format):
            log.warning(
                "%s: has the format of %s, which has no checksums, so corrupt weights cannot be detected.",
                self.path,
                kind,
            )
        checkpoint: dict[str, Any] = {
            "epoch": _count(self.metadata.get("epoch")),
            "global_step": _count(self.metadata.get("iter")),
            "pytorch-lightning_version": version("pytorch-lightning"),
            "state_dict": collections.OrderedDict(
                (f"model.{name}", self.tensors[name]) for name in parameter_names(self.architecture)
            ),
            # Without entries in either list, Lightning keeps the optimizer and the schedule that it has made.
            "optimizer_states": [],
            "lr_schedulers": [],
            "hparams_name": "kwargs",
            "hyper_parameters": self.architecture.to_dict()
            | {"dataset_fingerprint": contract.dataset_fingerprint}
            | ({} if contract.columns is None else {"columns": contract.columns.statement()}),
        }
        contract.write(checkpoint)

        def origin() -> dict[str, Any]:
            return {
                ORIGIN_KEY: {
                    "file": self.path.name,
                    "format": self.format,
                    "metadata": self.metadata,
                    "left_out": self.left_out,
                    "converted_from": converted,
                    "nonfinite_rows": self.nonfinite_rows(),
                }
            }

        write_torch_file(target, checkpoint, late=origin, progress=progress)
        for tensor in self.tensors.values():
            if tensor.nonfinite_rows:
                log.warning(
                    "%s: %s has NaN or infinity in %s of %s rows; samples that look them up get no valid score.",
                    self.path,
                    tensor.name,
                    f"{tensor.nonfinite_rows:,}",
                    f"{tensor.shape[0]:,}",
                )

    def _contract(self, dataset: KnownDataset | None) -> CheckpointContract:
        """State the architecture, and the dataset if it fits."""
        contract = CheckpointContract(self.architecture, dataset.fingerprint if dataset else "")
        if dataset is None:
            return contract
        try:
            contract.check_dataset(dataset.table_sizes, "")
        except DatasetError as error:
            raise DatasetError(f"{dataset.path}: does not fit {self.path}. {error}") from error
        if dataset.columns is None:
            return contract
        if misfit := self.architecture.misfit(dataset.columns):
            raise DatasetError(f"{dataset.path}: does not fit {self.path}: {misfit}.")
        return replace(contract, columns=dataset.columns)


def parameter_names(architecture: Architecture) -> list[str]:
    """Return our names of a model's parameters in the order in which an optimizer numbers them."""
    names = [f"embedding_bags.tables.{table}.weight" for table in range(architecture.num_tables)]
    for op in architecture.linear_shapes:
        part, layer, *rest = op.split(".")
        if rest:  # A layer of the cross network, whose v has no bias.
            names += [f"{op}.weight", *([] if rest == ["v"] else [f"{op}.bias"])]
        else:
            names += [f"{part}.{2 * int(layer)}.{kind}" for kind in ("weight", "bias")]
    return names


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
