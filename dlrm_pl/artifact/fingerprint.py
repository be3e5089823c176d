"""A short fingerprint of the weights of a float model, cheap at any size."""

from __future__ import annotations

import hashlib

import torch

from dlrm_pl.model.dlrm import DLRM

# Number of rows hashed per table, evenly spread: reading 100 GB to make a name would take longer than scoring.
_ROWS = 4096


def model_fingerprint(model: DLRM) -> str:
    """Return 16 hex digits over all MLP weights, the shapes of all tables and a sample of their rows."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {list(parameter.shape)}".encode())
        rows = parameter.detach()
        if name.startswith("embedding_bags.") and rows.shape[0] > _ROWS:
            rows = rows[torch.linspace(0, rows.shape[0] - 1, _ROWS).long()]
        digest.update(rows.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
