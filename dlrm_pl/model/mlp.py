"""The Linear + ReLU stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def build_mlp(widths: Sequence[int], *, final_relu: bool) -> nn.Sequential:
    """Linears with ReLU between them.

    Args:
        widths: with the input, at least two.
        final_relu: whether the last Linear has a ReLU as well; the bottom MLP's does, the logit does not.

    Returns:
        Linear, ReLU, Linear, ...; initialised as the reference does: weights N(0, sqrt(2 / (in + out))), biases
        N(0, sqrt(1 / out)).
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        nn.init.normal_(linear.weight, std=math.sqrt(2 / (inputs + outputs)))
        nn.init.normal_(linear.bias, std=math.sqrt(1 / outputs))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*(layers if final_relu else layers[:-1]))
