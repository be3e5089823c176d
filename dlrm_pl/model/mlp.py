"""The Linear + ReLU stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def build_mlp(widths: Sequence[int], *, final_relu: bool) -> nn.Sequential:
    """Build a stack of Linears with a ReLU between every two.

    Args:
        widths: widths of the input and of each layer; at least two numbers.
        final_relu: whether a ReLU also follows the last Linear: true for the bottom MLP, false before the logit.

    Returns:
        Linear, ReLU, Linear, ..., initialized as in upstream (facebookresearch/dlrm): weights N(0, sqrt(2 / (in +
        out))), biases N(0, sqrt(1 / out)).
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        # On the meta device, torch would import its compiler, which takes seconds, to draw nothing.
        if not linear.weight.is_meta:
            nn.init.normal_(linear.weight, std=math.sqrt(2 / (inputs + outputs)))
            nn.init.normal_(linear.bias, std=math.sqrt(1 / outputs))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*(layers if final_relu else layers[:-1]))
