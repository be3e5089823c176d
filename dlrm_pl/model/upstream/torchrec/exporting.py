"""Export a checkpoint as the state dict of TorchRec's DLRM or DLRM_DCN, table by table."""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.checked_tensor import CheckedTensor
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.torchrec_names import TABLE_NAME, pair_order, to_torchrec_name
from dlrm_pl.model.upstream.exporting import own_state, without_row_weights
from dlrm_pl.torch_file.writer import write_torch_file

log = logging.getLogger(__name__)


def export_torchrec(source: Path, target: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write the state dict for ``load_state_dict`` of TorchRec's DLRM (``dot``) or DLRM_DCN (``dcn``).

    The tables are named ``t_cat_0``, ``t_cat_1``, ..., as in the programs of facebookresearch/dlrm and MLPerf.

    Args:
        source: a checkpoint that ``fit`` or an import wrote.
        target: file to write; it appears whole or not at all.
        progress: called with the number of bytes written since the last call.

    Raises:
        CheckpointError: the source is corrupt, or not a checkpoint of this package.
        ConfigurationError: TorchRec does not support such a model.
        OutputError: the target cannot be written, or the disk has too little space.
    """
    checkpoint = open_checkpoint(source)
    shape = CheckpointContract.read(checkpoint).architecture
    _check(source, shape)
    if shape.loss_threshold:
        log.warning("%s: TorchRec does not clamp probabilities, so loss_threshold is dropped.", source)
    if any(shape.is_mean):
        log.warning("%s: in TorchRec, set pooling=PoolingType.MEAN for the tables that average their bags.", source)
    state = without_row_weights(own_state(checkpoint))
    if (columns := _columns(shape)) is not None:
        state["top_mlp.0.weight"] = CheckedTensor("top_mlp.0.weight", state["top_mlp.0.weight"], columns=columns)
    tables = [TABLE_NAME.format(table) for table in range(shape.num_tables)]
    named = ((to_torchrec_name(name, tables, len(shape.top_mlp)), tensor) for name, tensor in state.items())
    contents: dict[str, Any] = collections.OrderedDict(named)
    write_torch_file(target, contents, progress=progress)


def _check(source: Path, shape: Architecture) -> None:
    """Refuse models that TorchRec does not have."""
    wrong = ""
    if shape.interaction not in ("dot", "dcn"):
        wrong = f"interaction={shape.interaction!r}"
    elif shape.self_interaction:
        wrong = "self_interaction=True"
    elif len(shape.top_mlp) < 2:
        wrong = f"top_mlp={list(shape.top_mlp)} with a single layer"
    if wrong:
        raise ConfigurationError(f"{source}: has {wrong}, which no DLRM of TorchRec has, so it cannot be exported.")


def _columns(shape: Architecture) -> Tensor | None:
    """Return the order of the first top layer's inputs: the dense vector, and the dot products in TorchRec's order."""
    if shape.interaction != "dot":
        return None
    back = sorted(range(len(places := pair_order(shape.num_tables))), key=lambda place: places[place])
    return torch.tensor([*range(shape.embedding_dim), *(shape.embedding_dim + place for place in back)])
