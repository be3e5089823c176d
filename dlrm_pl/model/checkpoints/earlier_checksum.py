"""Checksum of all weights as stated in artifacts of earlier versions, with SHA-256 for the blocks."""

from __future__ import annotations

import hashlib

from torch import nn

_BLOCK_BYTES = 8 << 20


def earlier_checksum(model: nn.Module) -> str:
    """Return the SHA-256 over each parameter's name, its shape and the SHA-256 of each 8 MiB of its rows."""
    whole = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest = hashlib.sha256(f"{name} {list(parameter.shape)}".encode())
        rows = parameter.detach()
        step = max(1, _BLOCK_BYTES // (4 * max(1, rows[:1].numel())))
        for start in range(0, len(rows), step):
            digest.update(hashlib.sha256(rows[start : start + step].contiguous().numpy().reshape(-1).data).digest())
        whole.update(digest.digest())
    return whole.hexdigest()
