"""``digests.safetensors``: digests of blocks of the float weights, by which ``--refresh`` finds changed rows.

The manifest's checksum of the weights is computed from them, so it shows whether they are damaged. Nothing else needs
the file: an artifact without it can be scored as well.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dlrm_pl.artifact.manifest import FILE_NAME, Manifest
from dlrm_pl.files.tensor_file import save_tensors
from dlrm_pl.kernels.hashing.blocks import DIGEST_BYTES, Bytes
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.checksum import PREFIX, ParameterChecksum, parameter_digest
from dlrm_pl.model.dlrm import DLRM

log = logging.getLogger(__name__)

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


def warn_of_other_digests(folder: Path, manifest: Manifest, architecture: Architecture) -> None:
    """Warn if the digests of an artifact do not match the checksum of the float weights in its manifest.

    That is no error, since rows are scored without them, and since a delta that is copied over an artifact leaves those
    of the earlier weights there. Artifacts of earlier versions state no such checksum, or one made in another way.
    """
    expected = manifest.model_checksum
    if not expected.startswith(PREFIX) or not (folder / DIGESTS_NAME).exists():
        return
    with torch.device("meta"):
        model = DLRM(architecture)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if read_digests(folder, shapes, expected) is None:
        log.warning(
            "%s: does not match the checksum of the float weights in %s. It is damaged, or belongs to the artifact "
            "that a delta was copied over. Scores do not depend on it; `quantize --refresh` will pack all rows",
            folder / DIGESTS_NAME,
            FILE_NAME,
        )
