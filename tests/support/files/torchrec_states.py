"""State dicts with TorchRec's names, made with plain torch; their weights are seeded random numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.torchrec_names import TABLE_NAME, to_torchrec_name

TABLES = "sparse_arch.embedding_bag_collection.embedding_bags"
V1 = Architecture((6, 5, 9), 4, (3, 8, 4), (7, 5, 1))
V2 = Architecture((6, 5, 9), 4, (3, 8, 4), (7, 5, 1), interaction="dcn", cross_layers=2, cross_rank=3)


def torchrec_state(shape: Architecture, prefix: str = "") -> dict[str, Tensor]:
    """Return the state dict of TorchRec's model of this shape, with weights drawn from 0 to 1."""
    rng = torch.Generator().manual_seed(3)
    tables = [TABLE_NAME.format(table) for table in range(shape.num_tables)]
    with torch.device("meta"):
        names = {name: tensor.shape for name, tensor in DLRM(shape).state_dict().items()}
    return {
        prefix + to_torchrec_name(name, tables, len(shape.top_mlp)): torch.rand(size, generator=rng)
        for name, size in names.items()
    }
