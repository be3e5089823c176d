"""SHA-256 of blocks of bytes, two at a time if the processor has instructions for it.

The steps of one SHA-256 depend on each other, so a thread computes two hashes in little more time than one.
"""

from __future__ import annotations

import hashlib

import numpy as np

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.hashing.library import native

SHA256_BYTES = hashlib.sha256().digest_size


def sha256_blocks(data: memoryview | bytes, block_bytes: int) -> bytes:
    """Return the SHA-256 digests of the whole blocks of a run of bytes, one after the other.

    Args:
        data: bytes; what remains after the last whole block is not read.
        block_bytes: size of a block.

    Raises:
        ShapeError: a block has no bytes.

    Example:
        >>> sha256_blocks(b"abcd", 2).hex()[:16]
        'fb8e20fc2e4c3f24'
    """
    if block_bytes < 1:
        raise ShapeError(f"block_bytes={block_bytes} must be at least 1.")
    values = np.frombuffer(data, np.uint8)
    count = values.size // block_bytes
    library = native()
    if library is not None and count > 1:
        digests = np.empty((count, SHA256_BYTES), np.uint8)
        where = values.ctypes.data, values.size, block_bytes, count, digests.ctypes.data, digests.nbytes
        if library.dlrm_hashing_sha256(*where):
            return digests.tobytes()
    blocks = (values[start : start + block_bytes] for start in range(0, count * block_bytes, block_bytes))
    return b"".join(hashlib.sha256(block.data).digest() for block in blocks)
