"""``digests.safetensors``: digests of blocks of the float weights, by which ``--refresh`` finds changed rows.

The manifest's checksum of the weights is computed from them, so it shows whether they are damaged. Nothing else needs
the file: an artifact without it can be scored as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dlrm_pl.files.tensor_file import save_tensors
from dlrm_pl.kernels.hashing.blocks import DIGEST_BYTES, Bytes
from dlrm_pl.model.checkpoints.checksum import PREFIX, ParameterChecksum, parameter_digest

DIGESTS_NAME = "digests.safetensors"


def save_digests(checksums: Mapping[str, ParameterChecksum], folder: Path) -> None:
    """Write the digests of all parameters, all of which have been read.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {}
    for name, checksum in checksums.items():
        assert checksum.digests is not None
        tensors[name] = torch.from_numpy(checksum.digests)
    save_tensors(tensors, folder / DIGESTS_NAME)


def read_digests(folder: Path, shapes: Mapping[str, tuple[int, ...]], expected: str) -> dict[str, Bytes] | None:
    """Read the digests of an artifact's weights.

    Args:
        folder: the artifact folder.
        shapes: shapes of the parameters by name.
        expected: checksum of the weights in the manifest.

    Returns:
        Digests ``[blocks, 16]`` by name of the parameter; None if the file is missing, or does not belong to the
        weights.
    """
    try:
        tensors = load_file(folder / DIGESTS_NAME)
    except (OSError, SafetensorError):
        return None
    if any(tensor.dtype != torch.uint8 or tensor.shape[1:] != (DIGEST_BYTES,) for tensor in tensors.values()):
        return None
    digests: dict[str, Bytes] = {name: tensor.numpy() for name, tensor in tensors.items()}
    whole = hashlib.sha256()
    for name, shape in sorted(shapes.items()):
        if name not in digests:
            return None
        whole.update(parameter_digest(f"{name} {list(shape)}".encode(), digests[name]))
    return digests if PREFIX + whole.hexdigest() == expected else None
