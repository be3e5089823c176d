"""A random order of any number of rows in constant memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.decoding.native import library, permute
from dlrm_pl.data.splitmix64 import splitmix64

_ROUNDS = 6  # Must match the C++ code. Four rounds make a Feistel network a good permutation; two more cost little.


class RandomPermutation:
    """A seeded bijection of ``[0, size)``, computed only for the requested positions.

    A Feistel network permutes the numbers with the next even number of bits. If a result is not below ``size``, it is
    permuted again until it is (cycle walking), which keeps the mapping a bijection. An array with the order of 4
    billion rows would take 33 GB.

    Args:
        size: number of rows.
        seed: any two ints, for example seed and epoch.

    Source: Black, Rogaway 2002, "Ciphers with Arbitrary Finite Domains".
    """

    def __init__(self, size: int, seed: tuple[int, int]) -> None:
        self._size = size
        self._half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half_bits)) - 1)
        self._keys = np.random.default_rng(seed).integers(0, 2**64, _ROUNDS, dtype=np.uint64)

    def __call__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows at the given positions, int64 ``[n]``."""
        native = library()
        if native is not None:
            return permute(native, self._size, int(self._half_bits), self._keys, positions)
        values = self._encrypt(positions.astype(np.uint64))
        while (outside := values >= self._size).any():
            values[outside] = self._encrypt(values[outside])
        return values.astype(np.int64)

    def _encrypt(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = values >> self._half_bits, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (splitmix64(right ^ key) & self._mask)
        return (left << self._half_bits) | right
