"""Lookups in packed tables as ONNX nodes: one row of each table, or bags of rows."""

from __future__ import annotations

import numpy as np

from dlrm_pl.export.numbers import Numbers, Table
from dlrm_pl.export.onnx.graph import Graph
from dlrm_pl.export.onnx.layers import quantized_vectors


def gathered(graph: Graph, table: Table, indices: str, dim: int) -> tuple[str, str | None]:
    """Return rows of a table: int8 values ``[n, D]`` and their scales ``[n, 1]``, or float values and None."""
    values = graph.node("Gather", graph.part(table.values), indices, axis=0)
    if table.scale is None:
        return (graph.cast(values, np.float32) if table.dtype == "fp16" else values), None
    column = graph.constant([1], np.int64)
    scale = graph.node("Unsqueeze", graph.node("Gather", graph.part(table.scale), indices, axis=0), column)
    if table.zero is None:
        return values, scale
    zero = graph.node("Unsqueeze", graph.node("Gather", graph.part(table.zero), indices, axis=0), column)
    # By quotient and remainder, which every program has, unlike shifts of bytes.
    both, sixteen = graph.cast(values, np.int32), graph.constant(16, np.int32)
    high = graph.node("Div", both, sixteen)
    low = graph.node("Sub", both, graph.node("Mul", high, sixteen))
    nibbles = graph.node("Concat", low, high, axis=1)
    if dim % 2:
        ends = (graph.constant([value], np.int64) for value in (0, dim, 1))
        nibbles = graph.node("Slice", nibbles, *ends)
    return graph.cast(graph.node("Sub", nibbles, graph.cast(zero, np.int32)), np.int8), scale


def as_floats(graph: Graph, values: str, scale: str | None) -> str:
    """Return rows as floats: values times scales."""
    return values if scale is None else graph.node("Mul", graph.cast(values, np.float32), scale)


class OneHot:
    """One row of each table: ``indices`` int64 ``[B, T]``."""

    def __init__(self, graph: Graph, numbers: Numbers) -> None:
        self._graph = graph
        self._dim = numbers.model.architecture.embedding_dim

    def rows(self, table: int) -> str:
        """Return the rows of a table that are looked up, ``[B]``."""
        return self._graph.node("Gather", "indices", self._graph.constant(table, np.int64), axis=1)

    def floats(self, index: int, table: Table) -> str:
        """Return float vectors ``[B, D]``."""
        return as_floats(self._graph, *gathered(self._graph, table, self.rows(index), self._dim))

    def integers(self, index: int, table: Table) -> tuple[str, str]:
        """Return int8 vectors ``[B, D]`` and their scales ``[B, 1]``: rows as they are stored, if they are int8."""
        values, scale = gathered(self._graph, table, self.rows(index), self._dim)
        return quantized_vectors(self._graph, values) if scale is None else (values, scale)


class Bags:
    """Bags of rows: ``indices`` int64 ``[L]`` and ``offsets`` int64 ``[T * B + 1]``, as in ``ClickBatch``.

    The rows of a bag are added from first to last, as in the kernels.
    """

    def __init__(self, graph: Graph, numbers: Numbers) -> None:
        self._graph = graph
        architecture = numbers.model.architecture
        self._dim, self._is_mean = architecture.embedding_dim, architecture.is_mean
        one = graph.constant([1], np.int64)
        self._batch = graph.node("Shape", "dense", start=0, end=1)
        # One more index, so that the first row of an empty bag at the end exists as well.
        self._indices = graph.node("Concat", "indices", graph.constant([0], np.int64), axis=0)
        # The bag of a lookup is the number of bags that begin at or before it, not counting the first.
        last = graph.constant([np.iinfo(np.int64).max], np.int64)
        starts = graph.node("Slice", "offsets", one, last)
        none = graph.node("Expand", graph.constant([0], np.int64), graph.node("Shape", self._indices))
        ones = graph.node("Expand", one, graph.node("Shape", starts))
        marks = graph.node("ScatterElements", none, starts, ones, axis=0, reduction="add")
        self._bags = graph.node("CumSum", marks, graph.constant(0, np.int64))

    def _edges(self, table: int) -> tuple[str, str, str, str]:
        """Return where the bags of a table begin, ``[B]``, and end, ``[B]``, and the first and last place of all."""
        graph = self._graph
        first = graph.node("Mul", self._batch, graph.constant([table], np.int64))
        one = graph.constant([1], np.int64)
        end = graph.node("Add", first, self._batch)
        starts = graph.node("Slice", "offsets", first, end)
        ends = graph.node("Slice", "offsets", graph.node("Add", first, one), graph.node("Add", end, one))
        return starts, ends, graph.node("Gather", "offsets", first), graph.node("Gather", "offsets", end)

    def floats(self, index: int, table: Table) -> str:
        """Return float vectors ``[B, D]``: sums or means of the rows of bags; zeros for empty ones."""
        starts, ends, _, _ = edges = self._edges(index)
        return self._pooled(index, table, edges, self._counts(starts, ends))

    def integers(self, index: int, table: Table) -> tuple[str, str]:
        """Return int8 vectors ``[B, D]`` and their scales ``[B, 1]``: stored rows for bags of one, if they are int8."""
        graph = self._graph
        starts, ends, _, _ = edges = self._edges(index)
        counts = self._counts(starts, ends)
        values, scale = quantized_vectors(graph, self._pooled(index, table, edges, counts))
        if table.scale is None:
            return values, scale
        single = graph.node("Equal", counts, graph.constant(1, np.int64))
        row = graph.node("Where", single, graph.node("Gather", self._indices, starts), graph.constant(0, np.int64))
        stored, own = gathered(graph, table, row, self._dim)
        assert own is not None
        column = graph.node("Unsqueeze", single, graph.constant([1], np.int64))
        return graph.node("Where", column, stored, values), graph.node("Where", column, own, scale)

    def _counts(self, starts: str, ends: str) -> str:
        return self._graph.node("Sub", ends, starts)

    def _pooled(self, index: int, table: Table, edges: tuple[str, str, str, str], counts: str) -> str:
        graph = self._graph
        _, _, first, last = edges
        rows = graph.node("Slice", "indices", first, last)
        values = as_floats(graph, *gathered(graph, table, rows, self._dim))
        bags = graph.node("Sub", graph.node("Slice", self._bags, first, last),
                          graph.node("Mul", self._batch, graph.constant([index], np.int64)))  # fmt: skip
        places = graph.node(
            "Expand",
            graph.node("Unsqueeze", bags, graph.constant([1], np.int64)),
            graph.node("Concat", graph.node("Shape", bags), graph.constant([self._dim], np.int64), axis=0),
        )
        shape = graph.node("Concat", self._batch, graph.constant([self._dim], np.int64), axis=0)
        zeros = graph.node("Expand", graph.constant(0), shape)
        sums = graph.node("ScatterElements", zeros, places, values, axis=0, reduction="add")
        if not self._is_mean[index]:
            return sums
        sizes = graph.cast(graph.node("Max", counts, graph.constant(1, np.int64)), np.float32)
        return graph.divide(sums, graph.node("Unsqueeze", sizes, graph.constant([1], np.int64)))
