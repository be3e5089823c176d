"""Load checkpoints without a Trainer: safely, and without copying tables."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.checkpoints.contract import QUANTIZATION_KEY, CheckpointContract
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.checkpoints.row_digests import stored_digests
from dlrm_pl.model.checkpoints.tensors import unchecked
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.of_dataset import CheckpointModel
from dlrm_pl.model.parameter_names import own_row_weights_of
from dlrm_pl.model.weighted_bags import WeightedBags, without_row_weights
from dlrm_pl.model.weights_file import WeightsFile
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_file.plain import replace_leaves

if TYPE_CHECKING:
    from dlrm_pl.model.training.lightning_module import DLRMModule


def read_checkpoint(path: Path, mmap: bool = True, *, whole: bool = False) -> dict[str, Any]:
    """Read the entries of a checkpoint that ``fit`` wrote, of any size.

    Only tensors and plain types are unpickled, so a hostile file cannot run code.

    Args:
        path: a checkpoint file.
        mmap: memory-map the tensors, so that they are read when they are used. Writing to one takes memory and does not
            change the file. False: read all of them into memory.
        whole: compare every byte with the checksums in the file, see ``open_checkpoint``.

    Raises:
        CheckpointError: the file is missing or corrupt, is not a checkpoint of this package, or holds something other
            than plain types.
    """
    return _loaded(open_checkpoint(path, whole=whole), mmap)


def _loaded(checkpoint: dict[str, Any], mmap: bool = True) -> dict[str, Any]:
    """Replace the tensor descriptions in an opened checkpoint by torch tensors."""

    def load(tensor: FileTensor) -> torch.Tensor:
        return tensor.map() if mmap else tensor.read()

    loaded: dict[str, Any] = replace_leaves(checkpoint, FileTensor, load)
    return loaded


def load_into(module: DLRMModule, path: Path) -> str:
    """Load a checkpoint into a module, whose parameters become memory-mapped tensors of the file.

    The module can be trained: weights that are written to take memory, and the file does not change.

    Args:
        module: module to load into; on the meta device, no initial weights are computed needlessly.
        path: a checkpoint file, which must not be changed while the module is used.

    Returns:
        A description of what was not compared with the checksums in the file; empty if everything was.

    Raises:
        CheckpointError: the file is unreadable, or has another architecture or dataset than the module.
    """
    opened = open_checkpoint(path)
    checkpoint = _loaded(opened)
    try:
        module.on_load_checkpoint(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _assign(module, checkpoint["state_dict"], path)
    module.model.weights_file = replace(_weights_file(opened, path), digests=stored_digests(opened))
    return unchecked(opened)


def load_checkpoint(path: str | os.PathLike[str]) -> DLRMModule:
    """Make the module of a checkpoint, ready to validate, quantize and predict.

    Its hyperparameters come from the file, and its weights are memory-mapped: loading takes no time and no memory,
    however large the tables are. The file must not be changed while the module is used.

    Args:
        path: a checkpoint that ``fit`` or ``import-checkpoint`` wrote.

    Returns:
        The module in evaluation mode.

    Raises:
        CheckpointError: the file is unreadable, corrupt, or not a checkpoint of this package.

    Example:
        >>> import pytorch_lightning as pl, tempfile
        >>> from dlrm_pl import DLRMModule, load_checkpoint
        >>> trainer = pl.Trainer(logger=False)
        >>> trainer.strategy.connect(DLRMModule(table_sizes=[5, 3], bottom_mlp=[13, 16], top_mlp=[1]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trainer.save_checkpoint(f"{folder}/model.ckpt")
        ...     module = load_checkpoint(f"{folder}/model.ckpt")
        >>> module.predict(([[0.0] * 13], [[4, 2]])).shape
        (1,)
    """
    # Imported here, since Lightning takes seconds to import and nothing else in this file needs it.
    from dlrm_pl.model.training.lightning_module import DLRMModule

    path = Path(path).expanduser()
    opened = open_checkpoint(path)
    checkpoint = _loaded(opened)
    contract = CheckpointContract.read(checkpoint)
    # Lightning's own entries start with an underscore.
    saved = {name: value for name, value in checkpoint.get("hyper_parameters", {}).items() if not name.startswith("_")}
    stated = contract.architecture.to_dict() | {"dataset_fingerprint": contract.dataset_fingerprint}
    stated.pop("pooling", None)  # The columns state it.
    if contract.columns is not None:
        stated["columns"] = contract.columns.statement()
    try:
        with torch.device("meta"):
            module = DLRMModule(**(saved | stated))
    except (TypeError, ConfigurationError) as error:
        raise CheckpointError(f"{path}: no DLRMModule can be made from the hyperparameters ({error}).") from error
    _assign(module, checkpoint["state_dict"], path)
    module.model.weights_file = _weights_file(opened, path)
    module.model.trained_quantization = checkpoint.get(QUANTIZATION_KEY)
    return module.eval()


def load_dlrm(path: Path) -> DLRM:
    """Make only the model of a checkpoint, with memory-mapped tensors, without module and hyperparameters.

    Row weights are multiplied into the tables, which then take memory.

    Raises:
        CheckpointError: the file is unreadable, or its parts do not fit together.
    """
    return without_row_weights(_dlrm(open_checkpoint(path), path)).eval()


def checkpoint_model(opened: dict[str, Any], path: Path) -> CheckpointModel:
    """Make the model that quantization needs from a checkpoint, like ``load_into`` but without Lightning.

    Args:
        opened: dict that ``open_checkpoint`` returned.
        path: the file.

    Raises:
        CheckpointError: the parts of the file do not fit together.
    """
    model = _dlrm(opened, path).eval()
    assert model.weights_file is not None
    model.weights_file = replace(model.weights_file, digests=stored_digests(opened))
    return CheckpointModel(model, CheckpointContract.read(opened))


def _dlrm(opened: dict[str, Any], path: Path) -> DLRM:
    """Return the model of a checkpoint, with separate row weights."""
    checkpoint = _loaded(opened)
    with torch.device("meta"):
        model = DLRM(CheckpointContract.read(checkpoint).architecture)
    state = {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith("model.")
    }
    if own_row_weights_of(state) and isinstance(model.embedding_bags, EmbeddingBags):
        model.embedding_bags = WeightedBags(model.embedding_bags)
    _assign(model, state, path)
    model.weights_file = _weights_file(opened, path)
    model.trained_quantization = checkpoint.get(QUANTIZATION_KEY)
    return model


def _weights_file(opened: dict[str, Any], path: Path) -> WeightsFile:
    tensors = {name.removeprefix("model."): tensor for name, tensor in opened["state_dict"].items()}
    return WeightsFile(path, {name: tensor for name, tensor in tensors.items() if isinstance(tensor, FileTensor)})


def _assign(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Make the given tensors the parameters of a module, without copying them."""
    try:
        module.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:  # Keys, shapes or types differ.
        raise CheckpointError(
            f"{path}: is corrupt: the weights do not fit the architecture that it states ({error})."
        ) from error
