"""Finalizer of the splitmix64 generator: a cheap bijection of 64-bit numbers that mixes all their bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def splitmix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix the bits of 64-bit numbers of any shape; products wrap around, as intended.

    Source: Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators", variant 13 of Stafford's mixers.
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
