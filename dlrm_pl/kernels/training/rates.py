"""Optimizer parameters for one step, as passed to the native step."""

from __future__ import annotations

from typing import NamedTuple


class Rates(NamedTuple):
    """Optimizer parameters for one step.

    Attributes:
        learning_rate: rate of this step, from 0.
        epsilon: added to the square root of Adagrad's sum, or of Adam's squares.
        beta1: for Adam and LAMB, the share of the average gradient that a step keeps.
        beta2: the same for the average of squared gradients.
        weight_decay: decoupled weight decay, for Adam and LAMB.
        correction1: ``1 - beta1 ** t`` at step ``t``, counted from 1.
        correction2: ``1 - beta2 ** t``.
    """

    learning_rate: float
    epsilon: float = 1e-10
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    correction1: float = 1.0
    correction2: float = 1.0
