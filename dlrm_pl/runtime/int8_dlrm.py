"""The quantized DLRM that is scored, saved, verified and served: one and the same class of object."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.runtime.linear import INT8_LINEAR_OP, FloatLinear, Int8Linear
from dlrm_pl.runtime.tables import PackedTables

# The ops that do integer work, by the dtype of what they read.
INT8_OPS = {
    INT8_LINEAR_OP: "int8 Linear",
    "quantized::embedding_bag_byte_rowwise_offsets": "int8 table lookup",
    "quantized::embedding_bag_4bit_rowwise_offsets": "int4 table lookup",
}


class Int8DLRM(DLRM):
    """A DLRM composed of lowered layers and packed tables; built by ``from_parts``, never trained.

    Its forward pass is the float model's own, so there is one definition of the network.
    """

    @property
    def tables(self) -> PackedTables:
        """The packed tables."""
        return cast(PackedTables, self.embedding_bags)

    @property
    def layers(self) -> dict[str, Int8Linear | FloatLinear]:
        """Linears by op name, ``bottom_mlp.0`` to ``top_mlp.4``."""
        return {
            f"{part}.{index}": cast(Int8Linear | FloatLinear, layer)
            for part, mlp in (("bottom_mlp", self.bottom_mlp), ("top_mlp", self.top_mlp))
            for index, layer in enumerate(mlp.children())
        }

    @property
    def op_dtypes(self) -> dict[str, str]:
        """Dtype of every Linear and table, as they are and not as a recipe wished them."""
        linears = {
            name: "int8" if isinstance(layer, Int8Linear) else layer.dtype for name, layer in self.layers.items()
        }
        return linears | {f"tables.{index}": dtype for index, dtype in enumerate(self.tables.dtypes)}

    @property
    def table_bytes(self) -> int:
        """Bytes of all packed tables."""
        return sum(_bytes(buffer) for buffer in self.tables.buffers())

    @property
    def model_bytes(self) -> int:
        """Bytes of weights, biases, scales and tables."""
        return sum(_bytes(buffer) for buffer in self.buffers())

    def expected_int8_ops(self) -> dict[str, int]:
        """How often each integer op has to run in one forward pass."""
        by_dtype = {"int8": "quantized::embedding_bag_byte_rowwise_offsets"}
        by_dtype["int4"] = "quantized::embedding_bag_4bit_rowwise_offsets"
        counts = Counter(by_dtype[dtype] for dtype in self.tables.dtypes if dtype in by_dtype)
        counts[INT8_LINEAR_OP] = sum(isinstance(layer, Int8Linear) for layer in self.layers.values())
        return {op: count for op, count in counts.items() if count}


def fp32_bytes(model: DLRM) -> int:
    """Bytes of the parameters of a float model."""
    return sum(_bytes(parameter) for parameter in model.parameters())


def count_int8_ops(model: nn.Module, batch: ClickBatch) -> dict[str, int]:
    """Run one batch and count the integer ops that torch really dispatched.

    What a module is called proves nothing: the tool that this one replaces benchmarked its fp32 model as int8.
    """
    counter = _OpCounter()
    with torch.inference_mode(), counter:
        model(batch)
    return {op: count for op, count in counter.counts.items() if op in INT8_OPS}


class _OpCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts every op that reaches the dispatcher, by its name without the overload."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: OpOverload[Any, Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
