"""Weights that native code trains: their tensors, and those of their optimizer."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.training.tensors import check_tensor

Rule = Literal["sgd", "adagrad", "rwsadagrad", "adam", "lamb"]
"""How an optimizer updates a weight."""

_STATES = {"sgd": 0, "adagrad": 1, "rwsadagrad": 1, "adam": 2, "lamb": 2}
# The structs of types.h.
_LINEAR = struct.Struct("qqPP2P2P")
_TABLE = struct.Struct("PPqq")


@dataclass(frozen=True)
class TrainedLayer:
    """A Linear in training.

    Attributes:
        weight: float32 ``[out, in]``.
        bias: float32 ``[out]``; None for a Linear without one, which only a cross layer has.
        weight_state: the optimizer's tensors for the weight, of its shape: none for sgd, the sum for adagrad,
            exp_avg and exp_avg_sq for adam and lamb.
        bias_state: the same for the bias.
    """

    weight: Tensor
    bias: Tensor | None
    weight_state: tuple[Tensor, ...] = ()
    bias_state: tuple[Tensor, ...] = ()

    def check(self, name: str, rule: Rule) -> None:
        """Refuse tensors that the native step cannot train with this rule.

        Raises:
            ShapeError: a tensor has another type or shape; the message names it.
        """
        out, inputs = self.weight.shape if self.weight.dim() == 2 else (0, 0)
        check_tensor(f"the weight of {name}", self.weight, torch.float32, (out, inputs))
        if self.bias is not None:
            check_tensor(f"the bias of {name}", self.bias, torch.float32, (out,))
        of_bias = 0 if self.bias is None else _STATES[rule]
        for states, shape, count in (
            (self.weight_state, (out, inputs), _STATES[rule]),
            (self.bias_state, (out,), of_bias),
        ):
            if len(states) != count:
                raise ShapeError(f"{name} has {len(states)} tensors of state, but {rule} keeps {count}.")
            for state in states:
                check_tensor(f"the state of {name}", state, torch.float32, shape)

    def packed(self) -> bytes:
        """Layer as the struct in types.h."""
        states = [
            pointer
            for state in (self.weight_state, self.bias_state)
            for pointer in ([tensor.data_ptr() for tensor in state] + [0, 0])[:2]
        ]
        out, inputs = self.weight.shape
        bias = 0 if self.bias is None else self.bias.data_ptr()
        return _LINEAR.pack(inputs, out, self.weight.data_ptr(), bias, *states)


@dataclass(frozen=True)
class TrainedTable:
    """An embedding table in training.

    Attributes:
        rows: float32 ``[rows, D]``.
        state: the optimizer's sum: None for sgd, ``[rows, D]`` for adagrad, ``[rows]`` for rwsadagrad.
        is_mean: whether the rows of a bag are averaged instead of summed.
    """

    rows: Tensor
    state: Tensor | None = None
    is_mean: bool = False

    def check(self, name: str, dim: int, rule: Rule) -> None:
        """Refuse tensors that the native step cannot train with this rule.

        Raises:
            ShapeError: a tensor has another type or shape; the message names it.
        """
        count = len(self.rows)
        check_tensor(name, self.rows, torch.float32, (count, dim))
        if (self.state is not None) != _STATES[rule]:
            raise ShapeError(f"{name} has {'no' if self.state is None else 'a'} tensor of state with {rule}.")
        if self.state is not None:
            shape = (count,) if rule == "rwsadagrad" else (count, dim)
            check_tensor(f"the state of {name}", self.state, torch.float32, shape)

    def packed(self) -> bytes:
        """Table as the struct in types.h."""
        state = 0 if self.state is None else self.state.data_ptr()
        return _TABLE.pack(self.rows.data_ptr(), state, len(self.rows), self.is_mean)
