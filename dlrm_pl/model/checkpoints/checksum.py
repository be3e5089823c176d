"""One checksum over all weights of a model, computed while they are read for another purpose.

The checksum is the SHA-256 of the name, the shape and the block digests of each parameter, ordered by name. A block is
8 KiB of rows as float32, and its digest is BLAKE3, see ``dlrm_pl.kernels.hashing``. So the checksum does not depend on
the file that holds the weights, and the digests tell which rows another model of the same shape has in common.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from dlrm_pl.errors import CheckpointError
from dlrm_pl.files.crc32 import crc32_of_both
from dlrm_pl.kernels.hashing.blocks import DIGEST_BYTES, Bytes, block_digests, rows_of_block
from dlrm_pl.torch_file.file_tensor import FileTensor

PREFIX = "blake3:"

_SEGMENT_BYTES = 8 << 20
"""Size of a segment of rows that is read, and packed, at a time. Measured with rows in memory, one file of 256 MB and
threads that wait without spinning: 2.4 GB/s with 1 MiB, 3.6 with 4, 4.1 with 8, 1.4 to 4.1 with 32."""


def segment_rows(row_elements: int) -> int:
    """Return the number of rows in a segment, which is a whole number of blocks."""
    rows = rows_of_block(4 * row_elements)
    return max(1, _SEGMENT_BYTES // (4 * row_elements * rows)) * rows


class ParameterChecksum:
    """Digests of one parameter's blocks, and a check against its checksum in the file.

    Threads compute the digests while the caller continues.

    Args:
        name: name of the parameter.
        shape: shape of the parameter.
        stored: the parameter in its file, if it is in one.
        stated: digests that the file states, if it states any and the parameter was not changed in memory.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        stored: FileTensor | None = None,
        stated: FileTensor | None = None,
    ) -> None:
        self._name = name
        self._stored = stored
        self._stated = stated
        self._header = f"{name} {list(shape)}".encode()
        row_bytes = 4 * int(np.prod(shape[1:], dtype=np.int64))
        self._block_bytes = rows_of_block(row_bytes) * max(1, row_bytes)
        self.digests: Bytes | None = None
        """Digests of the blocks, uint8 ``[blocks, 16]``; None until all segments were added."""

    @property
    def digest(self) -> bytes | None:
        """Digest of name, shape and contents; None until all segments were added."""
        return None if self.digests is None else parameter_digest(self._header, self.digests)

    @property
    def is_stated(self) -> bool:
        """Whether the file states digests of the parameter."""
        return self._stated is not None

    def read_stated(self) -> Bytes | None:
        """Read the digests that the file states, uint8 ``[blocks, 16]``; None if it states none.

        Raises:
            CheckpointError: the digests are damaged.
        """
        if self._stated is None:
            return None
        digests: Bytes = self._stated.read().numpy()
        return digests

    def take_stated(self, digests: Bytes) -> None:
        """Use the digests that the file states for the parameter, if it is not read completely."""
        self.digests = digests

    def check_blocks(self, numbers: npt.NDArray[np.int64], blocks: Tensor) -> None:
        """Compare some blocks with their digests.

        Args:
            numbers: numbers of the blocks, in ascending order.
            blocks: rows of these blocks, one block after the other.

        Raises:
            CheckpointError: the file is corrupt.
        """
        assert self.digests is not None
        data = blocks.detach().contiguous().numpy().reshape(-1).view(np.uint8)
        found, _ = block_digests(data, self._block_bytes)
        wrong = np.flatnonzero((found != self.digests[numbers]).any(axis=1))
        if len(wrong):
            raise CheckpointError(
                f"{self._name}: block {int(numbers[wrong[0]])} of its rows, of {self._block_bytes} bytes, does not "
                "match the digest that the checkpoint states. The checkpoint is corrupt."
            )

    def begin(self) -> None:
        """Start with no segments."""
        self._threads = os.cpu_count() or 1
        self._hashing = ThreadPoolExecutor(self._threads)
        self._found: list[Bytes] = []
        self._crc32 = 0
        self._pending: deque[tuple[Future[tuple[Bytes, int]], int]] = deque()

    def add(self, segment: Tensor) -> Future[tuple[Bytes, int]]:
        """Add the next segment of ``segment_rows`` rows, or of the rest. It must not change until ``finish``.

        Returns:
            The digests of its blocks and its CRC-32, computed by a thread.
        """
        data = segment.detach().contiguous().numpy().reshape(-1).view(np.uint8)
        future = self._hashing.submit(block_digests, data, self._block_bytes)
        self._pending.append((future, data.size))
        while len(self._pending) > 2 * self._threads:  # Otherwise, the whole file would end up in memory.
            self._take()
        return future

    def finish(self) -> None:
        """Complete the digests after the last segment.

        Raises:
            CheckpointError: the file is corrupt.
        """
        try:
            while self._pending:
                self._take()
        finally:
            self.stop()
        if self._stored is not None:
            if self._crc32 == self._stored.crc32:
                for storage in self._stored.storages:
                    storage.checked = True
            else:
                self._stored.check(self._name)  # This passes if only the weights in memory were changed.
        self.digests = np.concatenate(self._found) if self._found else np.empty((0, DIGEST_BYTES), np.uint8)

    def stop(self) -> None:
        """Shut down the threads, also after an error."""
        self._hashing.shutdown(cancel_futures=True)

    def _take(self) -> None:
        future, size = self._pending.popleft()
        digests, crc32 = future.result()
        self._found.append(digests)
        self._crc32 = crc32_of_both(self._crc32, crc32, size)


def parameter_digest(header: bytes, digests: Bytes) -> bytes:
    """Return the digest of a parameter from its name, its shape and the digests of its blocks."""
    return hashlib.sha256(header + digests.tobytes()).digest()


def checksum_of(parameter: Tensor, checksum: ParameterChecksum) -> bytes:
    """Return the digest of a parameter, reading it now unless it has been read before."""
    if checksum.digest is None:
        rows = parameter.detach()
        checksum.begin()
        step = segment_rows(max(1, rows[:1].numel()))
        try:
            for start in range(0, len(rows), step):
                checksum.add(rows[start : start + step])
        except BaseException:
            checksum.stop()
            raise
        checksum.finish()
    digest = checksum.digest
    assert digest is not None
    return digest


def parameter_checksums(
    model: nn.Module, stored: Mapping[str, FileTensor], stated: Mapping[str, FileTensor] | None = None
) -> dict[str, ParameterChecksum]:
    """Prepare the checksums of all parameters.

    Args:
        model: float model.
        stored: the parameters that are in a file, by name.
        stated: digests that the file states for parameters that were not changed in memory, by name.
    """
    return {
        name: ParameterChecksum(name, tuple(parameter.shape), stored.get(name), (stated or {}).get(name))
        for name, parameter in model.named_parameters()
    }


def model_checksum(model: nn.Module, checksums: Mapping[str, ParameterChecksum]) -> str:
    """Return the checksum of all weights: ``blake3:`` and 64 hex digits; weights not read so far are read here.

    Raises:
        CheckpointError: the file of the weights is corrupt.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(checksum_of(parameter, checksums[name]))
    return PREFIX + digest.hexdigest()
