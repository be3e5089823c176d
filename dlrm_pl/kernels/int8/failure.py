"""What a kernel met in its input, before it is told in the words of an exception."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Failure(NamedTuple):
    """The first sample that could not be computed.

    Attributes:
        kind: an index outside its table, a number that is NaN or infinite, or offsets that are not in order.
        sample: its number in the batch.
        place: table, or feature; -1 for the dense vector of an interaction.
        value: the index or offset.
    """

    kind: Literal["index", "not finite", "offset"]
    sample: int
    place: int
    value: int
