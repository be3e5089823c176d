"""Options and results of training steps."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dlrm_pl.kernels.training.rates import Rates

_RATES = "7f"
_STEP = struct.Struct("fiiff" + 2 * _RATES)  # As in types.h.
_RATE = struct.Struct("f")
_DENSE_RATE, _TABLE_RATE = struct.calcsize("fiiff"), struct.calcsize("fiiff" + _RATES)  # Offsets of the learning rates.


@dataclass(frozen=True)
class StepFailure:
    """Reason why a batch was not trained on; nothing was changed.

    Attributes:
        kind: ``index``: a row beyond its table; ``offset``: bags that are out of order; ``not finite``: the loss.
        sample: number of the sample in the batch.
        table: table of the row or of the bag.
        value: the row or the offset.
    """

    kind: Literal["index", "not finite", "offset"]
    sample: int
    table: int
    value: int


class StepOptions(NamedTuple):
    """How a step treats the gradients of its batch.

    Attributes:
        rates: numbers of the MLPs' optimizer for this step.
        table_rates: numbers of the tables' optimizer.
        loss_scale: factor of the mean loss: 1 / accumulated batches.
        first: start new gradients with this batch, instead of adding to those of the batches before.
        last: update the weights, instead of keeping the gradients for the next batch.
        largest_norm: scale all gradients together down to this norm; 0 is off.
        largest_value: clamp each gradient to this; 0 is off.
    """

    rates: Rates
    table_rates: Rates
    loss_scale: float = 1.0
    first: bool = True
    last: bool = True
    largest_norm: float = 0.0
    largest_value: float = 0.0

    def packed(self) -> bytes:
        """Options as the struct in types.h."""
        rates, table_rates, *rest = self
        return _STEP.pack(*rest, *rates, *table_rates)


def with_rates(step: bytes, learning_rates: Sequence[Sequence[float]], count: int) -> list[bytes]:
    """Return several copies of a packed step with different learning rates.

    Args:
        step: packed options.
        learning_rates: rates of the MLPs and, last, of the tables, for each step; empty: those of ``step``.
        count: number of steps.
    """
    if not learning_rates or learning_rates.count(learning_rates[0]) == len(learning_rates):
        first = [step] if not learning_rates else [_with_rate(step, learning_rates[0])]
        return first * count
    return [_with_rate(step, rates) for rates in learning_rates[:count]]


def _with_rate(step: bytes, rates: Sequence[float]) -> bytes:
    """The step with learning rates in their places."""
    values = bytearray(step)
    _RATE.pack_into(values, _DENSE_RATE, rates[0])
    _RATE.pack_into(values, _TABLE_RATE, rates[-1])
    return bytes(values)


class Steps(NamedTuple):
    """Steps made one after the other.

    Attributes:
        losses: mean loss of each.
        failure: why the step after them was not made; None if it was not attempted.
    """

    losses: list[float]
    failure: StepFailure | None
