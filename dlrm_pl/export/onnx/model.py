"""A whole quantized model as ONNX."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.export.numbers import Chain, Numbers
from dlrm_pl.export.onnx.graph import INLINE_BYTES, Graph
from dlrm_pl.export.onnx.layers import as_bytes, mlp, quantized, quantized_vectors
from dlrm_pl.export.onnx.library import onnx
from dlrm_pl.export.onnx.lookups import Bags, OneHot

DATA_NAME = "model.onnx.data"


def onnx_model(numbers: Numbers, folder: Path, *, bags: bool, rounds_alone: bool = False) -> Any:
    """Return a model as a ``ModelProto``; large tables are written to a separate file.

    Inputs are ``dense``, float32 ``[B, N]``, the values of ``ClickBatch.dense``, and ``indices``, int64 ``[B, T]``, or
    with bags int64 ``[L]`` and ``offsets``, int64 ``[T * B + 1]``. Outputs are ``logit`` and ``probability``, float32
    ``[B]``.

    Args:
        numbers: numbers of the model.
        folder: folder for the tables.
        bags: whether the model takes bags of rows.
        rounds_alone: see ``Graph``.

    Raises:
        ConfigurationError: onnx is not installed.
        OSError: the tables cannot be written.
    """
    graph = Graph(rounds_alone=rounds_alone)
    architecture = numbers.model.architecture
    dense = mlp(graph, "dense", numbers.bottom)
    lookups = (Bags if bags else OneHot)(graph, numbers)
    if numbers.model.interaction == "int8":
        x, is_bytes = _integer_interaction(graph, dense, lookups, numbers)
    else:
        x, is_bytes = _float_interaction(graph, dense, lookups, numbers), False
    top = mlp(graph, x, numbers.top, is_bytes=is_bytes)
    flat = graph.constant([-1], np.int64)
    threshold = architecture.loss_threshold
    if threshold > 0:
        bound = math.log((1 - threshold) / threshold)
        top = graph.node("Clip", top, graph.constant(-bound), graph.constant(bound))
    graph.node("Reshape", top, flat, name="logit")
    graph.node("Sigmoid", "logit", name="probability")
    kinds, value = onnx().TensorProto, onnx().helper.make_tensor_value_info
    inputs = [value("dense", kinds.FLOAT, ["batch", architecture.bottom_mlp[0]])]
    if bags:
        inputs += [value("indices", kinds.INT64, ["lookups"]), value("offsets", kinds.INT64, ["bags"])]
    else:
        inputs.append(value("indices", kinds.INT64, ["batch", architecture.num_tables]))
    outputs = [value(name, kinds.FLOAT, ["batch"]) for name in ("logit", "probability")]
    data = folder / DATA_NAME if graph.table_bytes > INLINE_BYTES else None
    return graph.model(inputs, outputs, data)


def _integer_interaction(graph: Graph, dense: str, lookups: OneHot | Bags, numbers: Numbers) -> tuple[str, bool]:
    """Return the dense vector and all products, and whether they are bytes, as an int8 layer takes them."""
    architecture, first = numbers.model.architecture, numbers.top[0]
    vectors = [quantized_vectors(graph, dense)]
    vectors += [lookups.integers(index, table) for index, table in enumerate(numbers.tables)]
    row = graph.constant([1], np.int64)
    stacked = graph.node("Concat", *(graph.node("Unsqueeze", values, row) for values, _ in vectors), axis=1)
    scale = graph.node("Concat", *(scale for _, scale in vectors), axis=1)
    products = graph.node("MatMulInteger", stacked, graph.node("Transpose", stacked, perm=[0, 2, 1]))
    rows, columns = _pairs(len(vectors), architecture.self_interaction)
    row_scale = scale
    if isinstance(first, Chain):
        row_scale = graph.node("Mul", scale, graph.constant(first.inverse))
    pairs = graph.node("Mul", _of_pairs(graph, graph.cast(products, np.float32), rows, columns, len(vectors)),
                       graph.node("Gather", scale, graph.constant(columns, np.int64), axis=1))  # fmt: skip
    pairs = graph.node("Mul", pairs, graph.node("Gather", row_scale, graph.constant(rows, np.int64), axis=1))
    if not isinstance(first, Chain):
        return graph.node("Concat", dense, pairs, axis=1), False
    own = quantized(graph, dense, first.inverse, first.input_zero_point)
    others = as_bytes(graph, graph.plus(pairs, first.input_zero_point), 0.0)
    return graph.node("Concat", own, others, axis=1), True


def _float_interaction(graph: Graph, dense: str, lookups: OneHot | Bags, numbers: Numbers) -> str:
    architecture = numbers.model.architecture
    vectors = [dense, *(lookups.floats(index, table) for index, table in enumerate(numbers.tables))]
    if architecture.interaction in ("cat", "dcn"):
        return _cross_net(graph, graph.node("Concat", *vectors, axis=1), numbers)
    row = graph.constant([1], np.int64)
    stacked = graph.node("Concat", *(graph.node("Unsqueeze", vector, row) for vector in vectors), axis=1)
    products = graph.node("MatMul", stacked, graph.node("Transpose", stacked, perm=[0, 2, 1]))
    rows, columns = _pairs(len(vectors), architecture.self_interaction)
    return graph.node("Concat", dense, _of_pairs(graph, products, rows, columns, len(vectors)), axis=1)


def _cross_net(graph: Graph, vectors: str, numbers: Numbers) -> str:
    """Return the output of all cross layers, ``x0 * (W (V x) + b) + x`` each; the vectors where there are none."""
    x = vectors
    for layer in numbers.cross:
        x = graph.node("Add", graph.node("Mul", mlp(graph, x, layer), vectors), x)
    return x


def _pairs(count: int, diagonal: bool) -> tuple[list[int], list[int]]:
    rows, columns = np.tril_indices(count, 0 if diagonal else -1)
    return rows.tolist(), columns.tolist()


def _of_pairs(graph: Graph, products: str, rows: list[int], columns: list[int], count: int) -> str:
    """Take the products of pairs out of ``[B, F, F]``."""
    flat = graph.node("Reshape", products, graph.constant([0, count * count], np.int64))
    places = [row * count + column for row, column in zip(rows, columns, strict=True)]
    return graph.node("Gather", flat, graph.constant(places, np.int64), axis=1)
