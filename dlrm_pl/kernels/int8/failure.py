"""Failure that a kernel found in its input; ``ops`` turns it into an exception."""

from __future__ import annotations

from typing import Literal, NamedTuple

BETWEEN_LAYERS = -3
"""Marks a number that comes from a bf16 Linear, or from the layer before one."""


class Failure(NamedTuple):
    """The first sample that could not be computed.

    Attributes:
        kind: an index outside its table, a number that is NaN or infinite, or offsets that are not in order.
        sample: number of the sample in the batch.
        place: number of the table or the feature; -1 for the dense vector of an interaction, -2 for the
            output of a cross network, or ``BETWEEN_LAYERS``.
        value: the wrong index or offset; or the number of the layer, for ``BETWEEN_LAYERS``.
    """

    kind: Literal["index", "not finite", "offset"]
    sample: int
    place: int
    value: int
