"""Small models and batches for several tests; made in memory, seeded."""

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
    """Make batches whose labels follow the model of seed 0, so that its AUROC is well above one half."""
    truth = model(0, architecture)
    rng = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(count):
        dense = torch.rand(rows, architecture.bottom_mlp[0], generator=rng) * 4
        indices = torch.stack([torch.randint(0, n, (rows,), generator=rng) for n in architecture.table_sizes])
        result.append(_labelled(ClickBatch(dense, indices, None), truth, rng))
    return result


def bags(count: int, rows: int, seed: int = 1, architecture: Architecture = ARCHITECTURE) -> list[ClickBatch]:
    """Make batches with bags of 0 to 3 rows; labels as in ``batches``."""
    rng = torch.Generator().manual_seed(seed)
    result = []
    for batch in batches(count, rows, seed, architecture):
        lengths = torch.randint(0, 4, (architecture.num_tables * rows,), generator=rng)
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        sizes = torch.tensor(architecture.table_sizes).repeat_interleave(lengths.view(-1, rows).sum(1))
        indices = (torch.rand(len(sizes), generator=rng) * sizes).long()
        result.append(_labelled(ClickBatch(batch.dense, indices, offsets), model(0, architecture), rng))
    return result


def _labelled(batch: ClickBatch, truth: DLRM, rng: torch.Generator) -> ClickBatch:
    with torch.no_grad():
        logits = truth(batch)
    probability = torch.sigmoid(3 * (logits - logits.mean()) / logits.std())
    return batch._replace(labels=torch.bernoulli(probability, generator=rng))


def as_multi_hot(batch: ClickBatch) -> ClickBatch:
    """Return the same batch in the general layout, with bags of one."""
    return batch._replace(indices=batch.indices.flatten(), offsets=torch.arange(batch.indices.numel() + 1))
