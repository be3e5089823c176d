"""Small models and batches that several tests share; made in memory, seeded."""

from __future__ import annotations

import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM

ARCHITECTURE = Architecture(table_sizes=(40, 7, 25), embedding_dim=8, bottom_mlp=(13, 16, 8), top_mlp=(12, 6, 1))


def model(seed: int = 0, architecture: Architecture = ARCHITECTURE) -> DLRM:
    torch.manual_seed(seed)
    return DLRM(architecture).eval()


def batches(count: int, rows: int, seed: int = 1, architecture: Architecture = ARCHITECTURE) -> list[ClickBatch]:
    """Labels follow the model of seed 0, so that its AUROC is well above one half."""
    truth = model(0, architecture)
    rng = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(count):
        dense = torch.rand(rows, architecture.bottom_mlp[0], generator=rng) * 4
        indices = torch.stack([torch.randint(0, n, (rows,), generator=rng) for n in architecture.table_sizes])
        batch = ClickBatch(dense, indices, None, torch.zeros(rows))
        with torch.no_grad():
            logits = truth(batch)
        probability = torch.sigmoid(3 * (logits - logits.mean()) / logits.std())
        result.append(batch._replace(labels=torch.bernoulli(probability, generator=rng)))
    return result


def as_multi_hot(batch: ClickBatch) -> ClickBatch:
    """The same batch in the general layout, with bags of one."""
    return batch._replace(indices=batch.indices.flatten(), offsets=torch.arange(batch.indices.numel() + 1))
