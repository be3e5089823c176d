"""BLAKE3 digests of blocks of bytes, by the native library, or by NumPy if it was not built.

A digest is the first 16 bytes of a block's BLAKE3 hash. A block is 8 KiB, or as many whole rows as fit: few enough rows
that most blocks stay unchanged if one row in a hundred changes, and enough that a table's digests take 0.2 % of its
bytes.
"""

from __future__ import annotations

import ctypes
import zlib

import numpy as np
import numpy.typing as npt

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.arrays import address
from dlrm_pl.kernels.hashing.fallback import blake3
from dlrm_pl.kernels.hashing.library import native

DIGEST_BYTES = 16

_BLOCK_BYTES = 8192
_UINT8 = np.dtype(np.uint8)

Bytes = npt.NDArray[np.uint8]


def rows_of_block(row_bytes: int) -> int:
    """Return how many rows of a given size in bytes make up a block."""
    return max(1, _BLOCK_BYTES // max(1, row_bytes))


def block_digests(data: Bytes, block_bytes: int, crc32: int = 0, *, variant: int | None = None) -> tuple[Bytes, int]:
    """Compute the digests of the blocks of a run of bytes, and its CRC-32 in the same pass.

    Args:
        data: uint8 ``[bytes]`` without gaps.
        block_bytes: size of a block; the last may be shorter.
        crc32: CRC-32 of the bytes before these.
        variant: number of the native variant, counted from the plainest; None: the fastest on this processor.

    Returns:
        Digests, uint8 ``[blocks, 16]``, and the CRC-32 of all bytes so far.

    Raises:
        ShapeError: ``data`` is not a run of bytes, or the processor lacks the variant.
    """
    where = address("data", data, _UINT8, None)
    if block_bytes < 1:
        raise ShapeError(f"block_bytes={block_bytes} must be at least 1.")
    blocks = -(-data.size // block_bytes)
    library = native()
    if library is None:
        digests = blake3(data, block_bytes)[:, :DIGEST_BYTES]
        return np.ascontiguousarray(digests), zlib.crc32(data.data, crc32)
    digests = np.empty((blocks, DIGEST_BYTES), np.uint8)
    crc = ctypes.c_uint32(crc32)
    number = library.dlrm_hashing_variants() if variant is None else variant
    pointer = digests.ctypes.data
    if not library.dlrm_hashing_blocks(
        where, data.size, block_bytes, pointer, digests.nbytes, number, ctypes.addressof(crc)
    ):
        raise ShapeError(f"Blocks of {block_bytes} bytes cannot be hashed by variant {number} on this processor.")
    return digests, crc.value


def native_digest() -> tuple[int, int] | None:
    """Return the address of the native function and the number of its fastest variant; None if it was not built."""
    library = native()
    if library is None:
        return None
    function = ctypes.cast(library.dlrm_hashing_blocks, ctypes.c_void_p).value
    assert function is not None
    return function, library.dlrm_hashing_variants()
