"""MLPs and quantization as ONNX nodes, in the order of operations of ``kernels/int8/fallback.py``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlrm_pl.export.numbers import Chain, FloatLayer
from dlrm_pl.export.onnx.graph import Graph

_TINY = 1e-30  # As in the kernels: vectors without a larger magnitude become zeros.


def quantized(graph: Graph, x: str, inverse: np.float32, zero_point: int) -> str:
    """Return floats as bytes: ``round(x * inverse + zero_point)``, clamped to 0 to 255."""
    shifted = graph.plus(graph.node("Mul", x, graph.constant(inverse)), zero_point)
    return as_bytes(graph, shifted, 0.0)


def as_bytes(graph: Graph, x: str, least: float) -> str:
    """Clamp to the range from ``least`` to 255, and round half to even."""
    clamped = graph.node("Clip", x, graph.constant(least), graph.constant(255))
    return graph.cast(graph.node("Round", clamped), np.uint8)


def quantized_vectors(graph: Graph, x: str) -> tuple[str, str]:
    """Return float rows ``[B, D]`` as symmetric int8 and the scale of each, ``[B, 1]``."""
    largest = graph.node("ReduceMax", graph.node("Abs", x), graph.constant([1], np.int64), keepdims=1)
    some, steps, nothing = graph.node("Greater", largest, graph.constant(_TINY)), graph.constant(127), graph.constant(0)
    inverse = graph.node("Where", some, graph.divide(steps, largest), nothing)
    scale = graph.node("Where", some, graph.divide(largest, steps), nothing)
    return graph.cast(graph.node("Round", graph.node("Mul", x, inverse)), np.int8), scale


def segment(graph: Graph, x: str, numbers: Chain | FloatLayer, *, is_bytes: bool = False) -> str:
    """Return the float output of a segment of an MLP.

    Args:
        graph: graph to add to.
        x: float ``[B, in]``, or bytes.
        numbers: the segment.
        is_bytes: whether ``x`` is already bytes.
    """
    if isinstance(numbers, FloatLayer):
        weight, bias = graph.constant(numbers.weight), graph.constant(numbers.bias)
        result = graph.node("Gemm", x, weight, bias, transB=1)
        return graph.node("Relu", result) if numbers.relu else result
    if not is_bytes:
        x = quantized(graph, x, numbers.inverse, numbers.input_zero_point)
    for index, layer in enumerate(numbers.layers):
        total = graph.node("MatMulInteger", x, graph.constant(np.ascontiguousarray(layer.weight.T), np.int8))
        scaled = graph.node("Mul", graph.cast(total, np.float32), graph.constant(layer.multiplier))
        value = graph.plus(scaled, layer.bias)
        if index < len(numbers.layers) - 1:
            x = as_bytes(graph, value, layer.lowest)
        else:
            x = value if layer.lowest == -np.inf else graph.node("Max", value, graph.constant(layer.lowest))
    return x


def mlp(graph: Graph, x: str, segments: Sequence[Chain | FloatLayer], *, is_bytes: bool = False) -> str:
    """Return the float output of an MLP; see ``segment``."""
    for index, numbers in enumerate(segments):
        x = segment(graph, x, numbers, is_bytes=is_bytes and index == 0)
    return x
