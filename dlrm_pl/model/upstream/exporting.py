"""Export a checkpoint for ``--load-model`` of upstream (facebookresearch/dlrm), table by table."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.checkpoints.checked_tensor import CheckedTensor
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.parameter_names import own_row_weights_of, to_upstream_name
from dlrm_pl.model.upstream.foreign import ORIGIN_KEY
from dlrm_pl.torch_file.writer import write_torch_file

_UPSTREAM_RATE = 0.01  # Upstream's default of --learning-rate.


def export_upstream(source: Path, target: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write a checkpoint as upstream does: a ``state_dict`` with upstream's names, and all that its loader reads.

    Unknown numbers about the training, such as ``test_acc``, are NaN.

    Args:
        source: a checkpoint that ``fit`` or an import wrote.
        target: file to write; it appears whole or not at all.
        progress: called with the number of bytes written since the last call.

    Raises:
        CheckpointError: the source is corrupt, or not a checkpoint of this package.
        ConfigurationError: upstream does not support such a model.
        OutputError: the target cannot be written, or the disk has too little space.
    """
    checkpoint = open_checkpoint(source)
    if (shape := CheckpointContract.read(checkpoint).architecture).interaction == "dcn":
        raise ConfigurationError(
            f"{source}: has interaction={shape.interaction!r}, which facebookresearch/dlrm supports only in its "
            "TorchRec program. Use --to_torchrec."
        )
    state: dict[str, Any] = collections.OrderedDict(
        (to_upstream_name(name), tensor) for name, tensor in without_row_weights(own_state(checkpoint)).items()
    )
    write_torch_file(target, _fields(checkpoint, len(state)) | {"state_dict": state}, progress=progress)


def own_state(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of the model in a checkpoint, under our names."""
    state = checkpoint["state_dict"]
    return {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}


def without_row_weights(state: dict[str, Any]) -> dict[str, Any]:
    """Multiply row weights into the tables while they are written."""
    weights, left_out = own_row_weights_of(state), set(own_row_weights_of(state).values())
    return {
        name: CheckedTensor(name, tensor, state[weights[name]]) if name in weights else tensor
        for name, tensor in state.items()
        if name not in left_out
    }


def _fields(checkpoint: dict[str, Any], num_parameters: int) -> dict[str, Any]:
    """Make the entries that upstream's loader reads besides the weights; entries that an import kept are restored."""
    steps = checkpoint.get("global_step", 0)
    epoch = checkpoint.get("epoch", 0)
    unknown = dict.fromkeys(("train_acc", "train_loss", "test_acc", "test_loss", "test_auc"), math.nan)
    fields = {
        "epoch": epoch,
        "nepochs": epoch + 1,
        "nbatches": max(1, steps),
        "nbatches_test": 0,
        "iter": steps,
        **unknown,
        "total_loss": 0.0,
        "total_accu": 0.0,
        "opt_state_dict": _optimizer_state(checkpoint, num_parameters),
    }
    kept: dict[str, Any] = checkpoint.get(ORIGIN_KEY, {}).get("metadata", {})
    return fields | kept


def _optimizer_state(checkpoint: dict[str, Any], num_parameters: int) -> Any:
    """Return the optimizer's state if upstream has that optimizer; else SGD's, which is only its settings."""
    states = checkpoint.get("optimizer_states")
    if states and len(states[0]["param_groups"]) == 1 and len(states[0]["param_groups"][0]["params"]) == num_parameters:
        return states[0]
    rate = checkpoint.get("hyper_parameters", {}).get("learning_rate", _UPSTREAM_RATE)
    settings = {"lr": rate, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False}
    return {"state": {}, "param_groups": [settings | {"params": list(range(num_parameters))}]}
