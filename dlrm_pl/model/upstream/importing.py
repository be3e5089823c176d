"""Import a checkpoint of upstream (facebookresearch/dlrm), table by table, whatever its size.

Upstream saves a dict with ``state_dict`` and, depending on its version, numbers of its training such as ``epoch``,
``iter``, ``test_acc`` and ``test_auc``, any of which may be missing.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import CheckpointError, DatasetError
from dlrm_pl.model.architecture import Interaction
from dlrm_pl.model.checkpoints.checked_tensor import CheckedTensor
from dlrm_pl.model.checkpoints.contract import KEY, CheckpointContract
from dlrm_pl.model.parameter_names import (
    architecture_of,
    is_upstream_checkpoint,
    row_weights_of,
    to_our_name,
    without_wrapper,
)
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.plain import replace_leaves
from dlrm_pl.torch_file.stored import StoredTensor
from dlrm_pl.torch_file.writer import write_torch_file

log = logging.getLogger(__name__)

_LONGEST_ARRAY = 10_000  # Arrays up to this length are kept as lists of numbers.
ORIGIN_KEY = "reference"
"""Entry of an imported checkpoint that says where it comes from; named before upstream was called upstream."""


@dataclass(frozen=True)
class KnownDataset:
    """What is known about the dataset that a checkpoint was trained on.

    Attributes:
        path: the file or folder that states it.
        table_sizes: rows of each table.
        fingerprint: fingerprint of the dataset; empty when only its table sizes are known.
        columns: columns of the dataset; None when they are not known.
    """

    path: Path
    table_sizes: Sequence[int]
    fingerprint: str = ""
    columns: Columns | None = None


class UpstreamCheckpoint:
    """An opened checkpoint of upstream.

    Args:
        path: the file, in either of torch's formats.
        interaction: kind of interaction; needed only where the width of the top MLP fits more than one.
        self_interaction: whether vectors interact with themselves; needed only where the width fits both.
        loss_threshold: value of upstream's ``--loss-threshold``, which it does not save.

    Raises:
        CheckpointError: the file is unreadable or incomplete, is not a checkpoint of upstream, or of a mode that is not
            supported.
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
            raise CheckpointError(f"{error} Give a complete file that facebookresearch/dlrm saved.") from error
        self.path = path
        self.format = file.format
        try:
            state, others = _parts(file.contents)
            shapes = {name: tensor for name, tensor in state.items() if isinstance(tensor, StoredTensor)}
            if strange := [name for name in state if name not in shapes]:
                raise CheckpointError(
                    f"{strange[0]!r} in its state_dict is a {type(state[strange[0]]).__name__}, not a tensor."
                )
            weights = row_weights_of(shapes)
            shapes = {name: tensor for name, tensor in shapes.items() if name not in weights.values()}
            shape = architecture_of(shapes, interaction=interaction, self_interaction=self_interaction)
            self.tensors = {
                to_our_name(name): CheckedTensor(name, tensor, state[weights[name]] if name in weights else None)
                for name, tensor in shapes.items()
            }
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        self.has_row_weights = bool(weights)
        self.architecture = dataclasses.replace(shape, loss_threshold=loss_threshold)
        self.metadata, self.left_out = _plain_entries(others)

    @property
    def nbytes(self) -> int:
        """Number of bytes of all weights as float32."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def nonfinite_rows(self) -> dict[str, int]:
        """Count rows with NaN or infinity, by upstream's name of the tensor; known after all tensors were copied."""
        return {tensor.name: tensor.nonfinite_rows for tensor in self.tensors.values() if tensor.nonfinite_rows}

    def write(
        self, target: Path, dataset: KnownDataset | None = None, progress: Callable[[int], None] | None = None
    ) -> None:
        """Write a checkpoint of this package.

        ``fit --ckpt_path`` starts a new training from its weights, with the optimizer and schedule of its options.

        Args:
            target: file to write; it appears whole or not at all.
            dataset: the dataset that the model was trained on, if it is known.
            progress: called with the number of bytes that were added.

        Raises:
            DatasetError: the dataset has other table sizes; names the first table that differs, and both sizes.
            CheckpointError: the file is corrupt or was changed.
            OutputError: the target cannot be written, or the disk has too little space.
        """
        contract = CheckpointContract(self.architecture, dataset.fingerprint if dataset else "")
        if dataset is not None:
            try:
                contract.check_dataset(dataset.table_sizes, "")
            except DatasetError as error:
                raise DatasetError(f"{dataset.path}: does not fit {self.path}. {error}") from error
            if dataset.columns is not None:
                if misfit := self.architecture.misfit(dataset.columns):  # Upstream sums all bags.
                    raise DatasetError(f"{dataset.path}: does not fit {self.path}: {misfit}.")
                contract = replace(contract, columns=dataset.columns)
        converted = sorted({str(t.converted_from) for t in self.tensors.values() if t.converted_from is not None})
        if converted:
            log.warning("%s: converting weights of type %s to torch.float32.", self.path, " and ".join(converted))
        if self.has_row_weights:
            log.info("%s: the weights of --weighted-pooling are multiplied into the tables.", self.path)
        checkpoint: dict[str, Any] = {
            "epoch": _count(self.metadata.get("epoch")),
            "global_step": _count(self.metadata.get("iter")),
            "pytorch-lightning_version": version("pytorch-lightning"),
            "state_dict": collections.OrderedDict(
                (f"model.{name}", self.tensors[name]) for name in _in_order(self.tensors)
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
        if self.format == "legacy":
            log.warning(
                "%s: has the format of torch before 1.6, which has no checksums: corrupt weights cannot be detected.",
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
            total = self.tensors[to_our_name(name)].shape[0]
            log.warning(
                "%s: %s has NaN or infinity in %s of %s rows; samples that look these up get no valid score.",
                self.path,
                name,
                f"{rows:,}",
                f"{total:,}",
            )


def _parts(contents: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a file's contents into the state dict, without the names of wrappers, and the other entries."""
    if not isinstance(contents, dict):
        raise CheckpointError(f"holds a {type(contents).__name__}, not a checkpoint of facebookresearch/dlrm.")
    if KEY in contents:
        raise CheckpointError("is a checkpoint of dlrm_pl already, and needs no import.")
    if not is_upstream_checkpoint(contents):
        raise CheckpointError(
            "is not a checkpoint of facebookresearch/dlrm: a state_dict with names of its layers is expected, but the "
            f"file holds {', '.join(sorted(map(str, contents))[:8]) or 'nothing'}."
        )
    state = contents.get("state_dict", contents)
    plain: dict[str, Any] = {}
    for name, value in state.items():
        short = without_wrapper(str(name))
        if short in plain:
            raise CheckpointError(f"{short!r} occurs twice, with and without 'module.'.")
        plain[short] = value
    return plain, {str(name): value for name, value in contents.items() if state is not contents and value is not state}


def _plain_entries(entries: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split entries into those of plain values, and the names of the others."""
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name, value in entries.items():
        try:
            kept[name] = replace_leaves(value, (StoredTensor, np.ndarray), _plain)
        except _NotPlainError:
            left_out.append(name)
    return kept, left_out


class _NotPlainError(Exception):
    """A tensor or a long array, which is not kept as plain numbers."""


def _plain(value: StoredTensor | np.ndarray[Any, Any]) -> Any:
    """Turn a tensor of one element into its number, and a short array into a list."""
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
    """Sort names in the order of a model's parameters, by which an optimizer numbers them: tables, bottom, top."""
    parts = ("embedding_bags", "bottom_mlp", "top_mlp")

    def place(name: str) -> tuple[int, int, bool]:
        pieces = name.split(".")
        return parts.index(pieces[0]), int(pieces[-2]), pieces[-1] == "bias"

    return sorted(names, key=place)
