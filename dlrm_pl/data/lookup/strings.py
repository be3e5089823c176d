"""Strings of any length in two arrays."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Strings(NamedTuple):
    """UTF-8 strings one after the other, like Arrow's large strings.

    Attributes:
        offsets: int64 ``[n + 1]``: string i is ``data[offsets[i]:offsets[i + 1]]``; the first offset need not be 0.
        data: uint8.
    """

    offsets: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]

    @property
    def num_strings(self) -> int:
        """Number of strings."""
        return len(self.offsets) - 1

    @classmethod
    def of(cls, texts: list[bytes]) -> Strings:
        """Return strings in this form."""
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)]).astype(np.int64)
        return cls(offsets, np.frombuffer(b"".join(texts), np.uint8))

    def to_list(self) -> list[bytes]:
        """Return the strings as ``bytes``."""
        data = self.data.tobytes()
        bounds = self.offsets.tolist()
        return [data[first:last] for first, last in pairwise(bounds)]
