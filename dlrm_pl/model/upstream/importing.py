"""A checkpoint of the reference -> ours, table by table, whatever its size.

The reference saves a dict with ``state_dict`` and, depending on its version, numbers of its training such as ``epoch``,
``iter``, ``test_acc`` and ``test_auc``, all of which may be missing.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.errors import CheckpointError, DatasetError
from dlrm_pl.model.architecture import Architecture, Interaction
from dlrm_pl.model.checkpoints.checked_tensor import CheckedTensor
from dlrm_pl.model.checkpoints.contract import KEY, CheckpointContract
from dlrm_pl.model.parameter_names import architecture_of, is_upstream_checkpoint, to_our_name, without_wrapper
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.plain import replace_leaves
from dlrm_pl.torch_file.stored import StoredTensor
from dlrm_pl.torch_file.writer import write_torch_file

log = logging.getLogger(__name__)

_LONGEST_ARRAY = 10_000  # Kept as numbers of Python's.
ORIGIN_KEY = "reference"
"""Entry of an imported checkpoint that says where it comes from."""


@dataclass(frozen=True)
class KnownDataset:
    """What is known of the data that a checkpoint was trained on.

    Attributes:
        path: that states it.
        table_sizes: rows of each table.
        fingerprint: of the dataset; empty when only its sizes are known.
    """

    path: Path
    table_sizes: Sequence[int]
    fingerprint: str = ""


class UpstreamCheckpoint:
    """An opened checkpoint of the reference.

    Args:
        path: of the file, in either of torch's formats.
        interaction: needed only where the width of the top MLP fits more than one.
        self_interaction: the same.
        loss_threshold: the reference's ``--loss-threshold``, which it does not save.

    Raises:
        CheckpointError: unreadable, not of the reference, of a mode that is not supported, or incomplete.
    """

    def __init__(
        self,
        path: Path,
        *,
        interaction: Interaction | None = None,
        self_interaction: bool | None = None,
        loss_threshold: float = 0.0,
    ) -> None:
        try:
            file = TorchFile.open(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error} Give a complete file, as the reference saved it.") from error
        self.path = path
        self.format = file.format
        try:
            state, others = _parts(file.contents)
            shapes = {name: tensor for name, tensor in state.items() if isinstance(tensor, StoredTensor)}
            if strange := [name for name in state if name not in shapes]:
                raise CheckpointError(
                    f"{strange[0]!r} in its state_dict is a {type(state[strange[0]]).__name__}, no tensor."
                )
            found = architecture_of(shapes, interaction=interaction, self_interaction=self_interaction)
            self.tensors = {to_our_name(name): CheckedTensor(name, tensor) for name, tensor in shapes.items()}
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        self.architecture = Architecture(**(found.__dict__ | {"loss_threshold": loss_threshold}))
        self.metadata, self.left_out = _plain_entries(others)

    @property
    def nbytes(self) -> int:
        """Of all weights, as float32."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def nonfinite_rows(self) -> dict[str, int]:
        """Rows with NaN or infinity, by the reference's name of the tensor; known when all were copied."""
        return {tensor.name: tensor.nonfinite_rows for tensor in self.tensors.values() if tensor.nonfinite_rows}

    def write(
        self, target: Path, dataset: KnownDataset | None = None, progress: Callable[[int], None] | None = None
    ) -> None:
        """Write it as a checkpoint of ours.

        ``fit --ckpt_path`` starts a new training from its weights, with the optimizer and schedule that it is told.

        Args:
            target: file to write; appears whole or not at all.
            dataset: that it was trained on, when it is known.
            progress: called with the number of bytes that were added.

        Raises:
            DatasetError: the dataset has other table sizes; names the table and both.
            CheckpointError: the file is damaged or was changed.
            OutputError: the target cannot be written, or the disk has too little space.
        """
        contract = CheckpointContract(self.architecture, dataset.fingerprint if dataset else "")
        if dataset is not None:
            try:
                contract.check_dataset(dataset.table_sizes, "")
            except DatasetError as error:
                raise DatasetError(f"{dataset.path}: does not fit {self.path}. {error}") from error
        converted = sorted({str(t.converted_from) for t in self.tensors.values() if t.converted_from is not None})
        if converted:
            log.warning("%s: weights of type %s become torch.float32.", self.path, " and ".join(converted))
        checkpoint: dict[str, Any] = {
            "epoch": _count(self.metadata.get("epoch")),
            "global_step": _count(self.metadata.get("iter")),
            "pytorch-lightning_version": version("pytorch-lightning"),
            "state_dict": collections.OrderedDict(
                (f"model.{name}", self.tensors[name]) for name in _in_order(self.tensors)
            ),
            # None of either: Lightning then keeps the optimizer and the schedule that it has made.
            "optimizer_states": [],
            "lr_schedulers": [],
            "hparams_name": "kwargs",
            "hyper_parameters": self.architecture.to_dict() | {"dataset_fingerprint": contract.dataset_fingerprint},
        }
        contract.write(checkpoint)
        if self.format == "legacy":
            log.warning(
                "%s: is of torch's format before 1.6, which has no checksums: damaged numbers in it cannot be told.",
                self.path,
            )

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
        for name, rows in self.nonfinite_rows().items():
            log.warning(
                "%s: %s has NaN or infinity in %s of %s rows; samples that use them get no valid score.",
                *(self.path, name, f"{rows:,}", f"{self._rows(name):,}"),
            )

    def _rows(self, name: str) -> int:
        return self.tensors[to_our_name(name)].shape[0]


def _parts(contents: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dict without names of wrappers, and the other entries."""
    if not isinstance(contents, dict):
        raise CheckpointError(f"holds a {type(contents).__name__}, not a checkpoint of the reference.")
    if KEY in contents:
        raise CheckpointError("is a checkpoint of `fit` already, and needs no import.")
    if not is_upstream_checkpoint(contents):
        raise CheckpointError(
            "is no checkpoint of the reference: it has no state_dict with the names of its layers, but "
            f"{', '.join(sorted(map(str, contents))[:8]) or 'nothing'}."
        )
    state = contents.get("state_dict", contents)
    plain: dict[str, Any] = {}
    for name, value in state.items():
        short = without_wrapper(str(name))
        if short in plain:
            raise CheckpointError(f"{short!r} is there twice, with and without 'module.'.")
        plain[short] = value
    return plain, {str(name): value for name, value in contents.items() if state is not contents and value is not state}


def _plain_entries(entries: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Entries that are plain values, and the names of the others."""
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name, value in entries.items():
        try:
            kept[name] = replace_leaves(value, (StoredTensor, np.ndarray), _plain)
        except _NotPlainError:
            left_out.append(name)
    return kept, left_out


class _NotPlainError(Exception):
    """A tensor or an array, which is no number."""


def _plain(value: StoredTensor | np.ndarray[Any, Any]) -> Any:
    """The number, or the numbers of a short array."""
    if isinstance(value, StoredTensor):
        if value.numel() != 1:
            raise _NotPlainError
        return value.read().item()
    if value.size > _LONGEST_ARRAY:
        raise _NotPlainError
    return value.tolist()


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _in_order(names: Mapping[str, Any]) -> list[str]:
    """The names in the order of a model's parameters, which an optimizer counts by: tables, bottom, top."""
    parts = ("embedding_bags", "bottom_mlp", "top_mlp")

    def place(name: str) -> tuple[int, int, bool]:
        pieces = name.split(".")
        return parts.index(pieces[0]), int(pieces[-2]), pieces[-1] == "bias"

    return sorted(names, key=place)
