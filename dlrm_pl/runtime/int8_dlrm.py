"""Quantized DLRM: one class that is scored, saved, verified and served."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from dlrm_pl.batch import ClickBatch, samples
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.dtypes import InteractionDtype
from dlrm_pl.kernels.int8.rows import MAX_DIM, MAX_TABLES, TABLE_DTYPES
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM, clamp_logits
from dlrm_pl.model.interaction import interact
from dlrm_pl.runtime.cross_net import Int8CrossNet, MixedCrossNet, cross_net_of
from dlrm_pl.runtime.linear import FloatLinear, Int8Linear, LinearChain, segments
from dlrm_pl.runtime.tables import PackedTables

# Samples per thread that go through the whole model before the next ones: the values between its parts stay in the L2
# cache, and the calls cost little compared with the computation. Measured: docs/measurements/performance.md.
BLOCK_ROWS = 2048

# The same for a cross network that is computed layer by layer, on vectors of 14 KB per sample in MLPerf's shape.
CROSS_BLOCK_ROWS = 256


# A forked child does not have torch's threads and would wait for them forever, so it computes with one thread.
os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class Int8DLRM(nn.Module):
    """A DLRM of int8 and float layers and packed tables, for inference only.

    Args:
        architecture: shape of the model.
        bottom_mlp: layers of the bottom MLP in order.
        tables: packed tables.
        top_mlp: layers of the top MLP in order.
        interaction: dtype of the interaction. int8 multiplies int8 vectors, fused with the lookups; bf16 and fp32
            multiply floats. With a cross network it is fp32.
        cross_net: V and W of each cross layer in order; empty where the interaction is not ``dcn``.

    Raises:
        ShapeError: the interaction is int8, but the model concatenates, or has more tables or values than the kernels
            take; a model with a cross network has another interaction than fp32; or the number of cross layers differs
            from the architecture's.

    Example:
        >>> from dlrm_pl import load_artifact
        >>> model = load_artifact("artifacts/quickstart").model
        >>> model.table_bytes < model.model_bytes
        True
    """

    def __init__(
        self,
        architecture: Architecture,
        bottom_mlp: Sequence[Int8Linear | FloatLinear],
        tables: PackedTables,
        top_mlp: Sequence[Int8Linear | FloatLinear],
        interaction: InteractionDtype,
        cross_net: Sequence[Int8Linear | FloatLinear] = (),
    ) -> None:
        super().__init__()
        if len(cross_net) != 2 * architecture.cross_layers:
            raise ShapeError(
                f"A model with {architecture.cross_layers} cross layers needs V and W of each, but got "
                f"{len(cross_net)} Linears."
            )
        if interaction != "fp32" and architecture.interaction == "dcn":
            raise ShapeError(
                f"interaction {interaction} needs dot products, which a model with interaction='dcn' does not have. "
                "Choose fp32."
            )
        if interaction == "int8" and architecture.interaction != "dot":
            raise ShapeError(
                f"interaction {architecture.interaction!r} multiplies nothing, so it cannot be int8. Choose fp32."
            )
        if interaction == "int8" and (architecture.num_tables > MAX_TABLES or architecture.embedding_dim > MAX_DIM):
            raise ShapeError(
                f"An int8 interaction takes up to {MAX_TABLES} tables of up to {MAX_DIM:,} values, got "
                f"{architecture.num_tables} of {architecture.embedding_dim:,}. Choose fp32."
            )
        self.architecture = architecture
        self.bottom_mlp = nn.ModuleList(bottom_mlp)
        self.tables = tables
        self.cross_net = nn.ModuleList(cross_net)
        self.top_mlp = nn.ModuleList(top_mlp)
        self.interaction: InteractionDtype = interaction
        # The chains that compute. They are not registered as modules, since the layers above hold the same numbers.
        self._bottom = tuple(segments(bottom_mlp))
        self._cross = cross_net_of(cross_net)
        self._top = tuple(segments(top_mlp))

    def forward(self, batch: ClickBatch) -> Tensor:
        """Score a batch.

        Args:
            batch: samples with any number of rows; labels are not read.

        Returns:
            Logits, float32 ``[B]``.

        Raises:
            LookupIndexError: an index is outside its table.
            NonFiniteError: an int8 layer reads a value that is NaN or infinite.
            ShapeError: the batch has a different number of dense features or tables than the model.
        """
        inputs = self.architecture.bottom_mlp[0]
        if batch.dense.dim() != 2 or batch.dense.shape[1] != inputs:
            raise ShapeError(
                f"The bottom MLP takes {inputs} dense features, shape [B, {inputs}], but got {list(batch.dense.shape)}."
            )
        blocks = self._blocks(batch)
        parts = [self.top(self.interact(self.bottom(dense), rows, starts)) for dense, rows, starts in blocks]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def bottom(self, dense: Tensor) -> Tensor:
        """Run the bottom MLP: dense features ``[B, N]`` -> ``[B, D]``."""
        for layer in self._bottom:
            dense = layer(dense)
        return dense

    def top(self, x: Tensor) -> Tensor:
        """Run the top MLP: the result of ``interact`` -> logits ``[B]``."""
        for layer in self._top:
            x = layer(x)
        return clamp_logits(x.squeeze(1), self.architecture.loss_threshold)

    def interact(self, dense: Tensor, indices: Tensor, offsets: Tensor | None) -> Tensor:
        """Look up the tables and combine them with the dense vector.

        Args:
            dense: float32 ``[B, D]``, the result of ``bottom``.
            indices: int64 ``[T, B]`` one-hot, or ``[L]`` with offsets.
            offsets: None, or int64 ``[T * B + 1]``.

        Returns:
            uint8 ``[B, stride]`` if an int8 layer follows an int8 interaction or an int8 cross network, else float32
            ``[B, width]``.
        """
        first = self._top[0]
        # Scale and zero point of the bytes that the first layer of the top MLP reads, if it reads bytes.
        scale, zero_point = None, 0
        if isinstance(first, LinearChain) and first.reads_bytes:
            scale, zero_point = first.input_scale, first.input_zero_point
        if isinstance(self._cross, Int8CrossNet):
            return self._cross(dense, indices, offsets, self.tables, scale, zero_point)
        if self.interaction == "int8":
            result: Tensor = torch.ops.dlrm_pl.lookup_interaction(
                dense,
                indices,
                offsets,
                self.tables.all(),
                self.tables.codes,
                self.architecture.self_interaction,
                scale,
                zero_point,
                self.tables.is_mean,
            )
            return result
        sparse = self.tables(indices, offsets)
        if self.interaction == "bf16":
            dense, sparse = dense.bfloat16(), sparse.bfloat16()
        return self.cross(interact(dense, sparse, self.architecture).float())

    def cross(self, vectors: Tensor) -> Tensor:
        """Run the cross network if there is one that is not fused with the lookups, float32 ``[B, width]``."""
        return vectors if not isinstance(self._cross, MixedCrossNet) else self._cross(vectors)

    def time_stages(self, batch: ClickBatch) -> dict[str, float]:
        """Measure one forward pass: seconds of each part, summed over the blocks of the batch."""
        spent = dict.fromkeys(("bottom MLP", "lookups and interaction", "top MLP"), 0.0)
        for dense, indices, offsets in self._blocks(batch):
            times = [time.perf_counter()]
            for layer in self._bottom:
                dense = layer(dense)
            times.append(time.perf_counter())
            x = self.interact(dense, indices, offsets)
            times.append(time.perf_counter())
            for layer in self._top:
                x = layer(x)
            times.append(time.perf_counter())
            for stage, (began, ended) in zip(spent, pairwise(times), strict=True):
                spent[stage] += ended - began
        return spent

    def _blocks(self, batch: ClickBatch) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Cut a batch into blocks whose values stay in the cache.

        Bags are cut only for a cross network that is not fused with the lookups. Otherwise, cutting bags would cost
        more than it gains, since they are stored table by table.
        """
        size, tables = BLOCK_ROWS * torch.get_num_threads(), self.architecture.num_tables
        if isinstance(self._cross, MixedCrossNet):
            size = CROSS_BLOCK_ROWS * torch.get_num_threads()
        elif batch.offsets is not None:
            size = batch.num_samples
        if batch.num_samples <= size:
            yield batch.dense, batch.indices, batch.offsets
            return
        for start in range(0, batch.num_samples, size):
            block = samples(batch, start, min(start + size, batch.num_samples), tables)
            yield block.dense, block.indices, block.offsets

    @property
    def chains(self) -> tuple[LinearChain | None, LinearChain | None]:
        """Bottom and top MLP, each as one chain; None for one with fp32 layers."""
        bottom, top = (
            part[0] if len(part) == 1 and isinstance(part[0], LinearChain) else None
            for part in (self._bottom, self._top)
        )
        return bottom, top

    @property
    def fused_cross_net(self) -> Int8CrossNet | None:
        """Cross network that one op computes together with the lookups; None if there is none."""
        return self._cross if isinstance(self._cross, Int8CrossNet) else None

    @property
    def layers(self) -> dict[str, Int8Linear | FloatLinear]:
        """Linears by the names of their ops, see ``Architecture.linear_shapes``."""
        layers = (*self.bottom_mlp, *self.cross_net, *self.top_mlp)
        return {
            op: cast(Int8Linear | FloatLinear, layer)
            for op, layer in zip(self.architecture.linear_shapes, layers, strict=True)
        }

    @property
    def op_dtypes(self) -> dict[str, str]:
        """Dtype of every Linear and table and of the interaction, read from the model itself, not from a recipe."""
        linears = {
            name: "int8" if isinstance(layer, Int8Linear) else layer.dtype for name, layer in self.layers.items()
        }
        tables = {f"tables.{index}": dtype for index, dtype in enumerate(self.tables.dtypes)}
        return linears | tables | {"interaction": self.interaction}

    @property
    def table_bytes(self) -> int:
        """Size of all packed tables in bytes."""
        return sum(_bytes(buffer) for buffer in self.tables.buffers())

    @property
    def model_bytes(self) -> int:
        """Size of weights, biases, scales and tables in bytes."""
        return sum(_bytes(buffer) for buffer in self.buffers())

    def expected_int8_ops(self) -> dict[str, int]:
        """Number of integer ops of each kind that one forward pass must run."""
        counts = Counter(f"{dtype}_lookup" for dtype in self.tables.dtypes if dtype in ("int8", "int4"))
        counts["int8_linear"] = sum(isinstance(layer, Int8Linear) for layer in self.layers.values())
        counts["int8_interaction"] = int(self.interaction == "int8")
        return {op: count for op, count in sorted(counts.items()) if count}


def fp32_bytes(model: DLRM) -> int:
    """Return the size of all parameters of a float model in bytes."""
    return sum(_bytes(parameter) for parameter in model.parameters())


def count_int8_ops(model: Int8DLRM, batch: ClickBatch) -> dict[str, int]:
    """Run one batch and count the integer ops that torch dispatched, by kind.

    The names of modules prove nothing: the tool that this one replaces benchmarked its fp32 model as int8.
    """
    counter = _OpCounter()
    with torch.inference_mode(), counter:
        model(batch)
    # A float model, which a test may pass, is not cut into blocks.
    blocks = sum(1 for _ in model._blocks(batch)) if isinstance(model, Int8DLRM) else 1
    return {op: count // blocks for op, count in sorted(counter.counts.items())}


class _OpCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counter of the integer Linears, lookups and interactions in the ops that reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here. To keep its compiler from doing so, torch would import it, which takes seconds.
        return False

    def __torch_dispatch__(
        self, func: OpOverload[Any, Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name
        if name == ops.QUANTIZED_MLP:
            self.counts["int8_linear"] += sum(weight.dtype == torch.int8 for weight in args[3])
        elif name in (ops.LOOKUP_INTERACTION, ops.LOOKUP, ops.LOOKUP_CROSS):
            codes = args[3] if name == ops.LOOKUP else args[4]
            self.counts["int8_linear"] += len(args[7]) if name == ops.LOOKUP_CROSS else 0
            self.counts["int8_interaction"] += int(name == ops.LOOKUP_INTERACTION)
            names = (TABLE_DTYPES[code] for code in codes)
            self.counts.update(f"{dtype}_lookup" for dtype in names if dtype in ("int8", "int4"))
        self.counts += Counter()  # Drops counts of 0.
        return func(*args, **(kwargs or {}))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
