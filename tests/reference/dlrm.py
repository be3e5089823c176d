"""DLRM by explicit loops in float64, and the reference's stateful schedule. Slow and obvious; imports no package code.

Parameters are a plain dict: ``tables`` (list of ``[rows, D]``), ``bottom`` and ``top`` (lists of ``(weight, bias)``),
and with ``dcn`` ``cross`` (list of ``(v, w, bias)``).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Layers = list[tuple[Array, Array]]


def interaction_by_loops(dense: Array, sparse: Array, itself: bool = False) -> Array:
    """The dense vector, then (1,0), (2,0), (2,1), ...; with ``itself`` (0,0), (1,0), (1,1), ..."""
    rows = []
    for x, embeddings in zip(dense, sparse, strict=True):
        vectors = [x, *embeddings]
        row = list(x)
        for i in range(len(vectors)):
            for j in range(i + 1 if itself else i):
                row.append(sum(a * b for a, b in zip(vectors[i], vectors[j], strict=True)))
        rows.append(row)
    width = dense.shape[1] + sum(i + 1 if itself else i for i in range(sparse.shape[1] + 1))
    return np.array(rows, dtype=np.float64).reshape(len(dense), width)


def concatenation_by_loops(dense: Array, sparse: Array) -> Array:
    rows = [[*x, *(value for vector in vectors for value in vector)] for x, vectors in zip(dense, sparse, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(len(dense), dense.shape[1] * (1 + sparse.shape[1]))


def pooled_by_loops(tables: list[Array], bags: list[list[list[int]]]) -> Array:
    """``bags[t][b]`` lists the rows of table t for sample b; the result is ``[B, T, D]``."""
    pooled = np.zeros((len(bags[0]), len(tables), tables[0].shape[1]))
    for t, table in enumerate(tables):
        for b, bag in enumerate(bags[t]):
            for row in bag:
                pooled[b, t] += table[row]
    return pooled


def mlp_by_loops(x: Array, layers: Layers, final_relu: bool) -> Array:
    for index, (weight, bias) in enumerate(layers):
        x = np.array([[sum(w * v for w, v in zip(row, sample, strict=True)) for row in weight] for sample in x]) + bias
        if final_relu or index < len(layers) - 1:
            x = np.where(x > 0, x, 0.0)
    return x


def cross_net_by_loops(first: Array, layers: list[tuple[Array, Array, Array]]) -> Array:
    """x = x0 * (W (V x) + b) + x, layer after layer; ``v`` is ``[R, W]``, ``w`` ``[W, R]``."""
    rows = []
    for x0 in first:
        x = list(x0)
        for v, w, bias in layers:
            inner = [sum(a * b for a, b in zip(row, x, strict=True)) for row in v]
            outer = [sum(a * b for a, b in zip(row, inner, strict=True)) for row in w]
            x = [a * (b + c) + d for a, b, c, d in zip(x0, outer, bias, x, strict=True)]
        rows.append(x)
    return np.array(rows, dtype=np.float64).reshape(first.shape)


def logits_by_loops(
    parameters: dict[str, Any], dense: Array, bags: list[list[list[int]]], *, kind: str, itself: bool, threshold: float
) -> Array:
    x = mlp_by_loops(dense, parameters["bottom"], final_relu=True)
    sparse = pooled_by_loops(parameters["tables"], bags)
    z = interaction_by_loops(x, sparse, itself) if kind == "dot" else concatenation_by_loops(x, sparse)
    z = cross_net_by_loops(z, parameters["cross"]) if kind == "dcn" else z
    logits = mlp_by_loops(z, parameters["top"], final_relu=False)[:, 0]
    if threshold == 0:
        return logits
    clamped = []
    for logit in logits:  # On the probability, as in the reference.
        probability = min(max(1 / (1 + math.exp(-logit)), threshold), 1 - threshold)
        clamped.append(math.log(probability / (1 - probability)))
    return np.array(clamped)


class StatefulSchedule:
    """The reference's scheduler as originally written: it remembers its last rate."""

    def __init__(self, base: float, warmup: int, decay_start: int, decay: int) -> None:
        self.base, self.warmup, self.decay_start, self.decay = base, warmup, decay_start, decay
        self.last = base  # The reference has no rate before its first phase, and fails there.
        self.count = 0

    def step(self) -> float:
        """Return the rate of the next optimizer step; the first step has number 1."""
        self.count += 1
        s = self.count
        if s < self.warmup:
            self.last = self.base * (1 - (self.warmup - s) / self.warmup)
        elif self.decay_start <= s < self.decay_start + self.decay:
            scale = ((self.decay - (s - self.decay_start)) / self.decay) ** 2
            self.last = max(0.0000001, self.base * scale)
        elif self.decay == 0:
            return self.base
        return self.last
