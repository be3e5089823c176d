"""An ONNX graph that is built node by node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.export.numbers import Array, Part
from dlrm_pl.export.onnx.library import onnx

OPSET = 21
IR_VERSION = 10
"""The IR version that came with the opset, so that programs of that time can read the file."""

INLINE_BYTES = 1 << 30
"""Tables that are larger are written next to the graph: an ONNX file itself cannot exceed 2 GiB."""

_BLOCK_BYTES = 8 << 20
_ALIGNMENT = 4096


class Graph:
    """Nodes and constants; each method returns the name of a value.

    Args:
        rounds_alone: write sums and quotients so that a program like OpenVINO, which would compute a product and a sum
            in one step, or a quotient as a product, gives the same bits as one that does not.
    """

    def __init__(self, *, rounds_alone: bool = False) -> None:
        self._rounds_alone = rounds_alone
        self._zero = ""
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}
        self._parts: dict[str, Part] = {}

    def node(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output."""
        output = name or f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(onnx().helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant, once for equal values."""
        array = np.asarray(value, dtype)
        key = f"constant_{array.dtype}_{'x'.join(map(str, array.shape))}_{len(self._constants)}"
        for name, other in self._constants.items():
            if other.dtype == array.dtype and other.shape == array.shape and np.array_equal(other, array):
                return name
        self._constants[key] = array
        return key

    def plus(self, product: str, number: Any) -> str:
        """Add numbers to a product after it has been rounded."""
        summand = self.constant(number)
        if self._rounds_alone:
            # A constant summand would be fused with the product, so min(batch size, 0), which is always 0, is added to
            # it.
            if not self._zero:
                batch = self.node("Shape", "dense", start=0, end=1)
                self._zero = self.cast(self.node("Min", batch, self.constant([0], np.int64)), np.float32)
            summand = self.node("Add", summand, self._zero)
        return self.node("Add", product, summand)

    def divide(self, a: str, b: str) -> str:
        """Divide by positive numbers, rounding once."""
        quotient = self.node("Div", a, b)
        if not self._rounds_alone:
            return quotient
        # One step of Newton's method; the remainder a - quotient * b is computed without rounding, by Dekker's product.
        high_q, low_q = self._halves(quotient)
        high_b, low_b = self._halves(b)
        product = self.node("Mul", quotient, b)
        rest = self.node("Sub", self.node("Mul", high_q, high_b), product)
        for one, other in ((high_q, low_b), (low_q, high_b), (low_q, low_b)):
            rest = self.node("Add", rest, self.node("Mul", one, other))
        remainder = self.node("Sub", self.node("Sub", a, product), rest)
        return self.node("Add", quotient, self.node("Div", remainder, b))

    def _halves(self, x: str) -> tuple[str, str]:
        """Return numbers as sums of two with half as many digits."""
        large = self.node("Mul", x, self.constant(4097))
        high = self.node("Sub", large, self.node("Sub", large, x))
        return high, self.node("Sub", x, high)

    def part(self, part: Part) -> str:
        """Add part of a table as a constant."""
        self._parts[part.name] = part
        return part.name

    def cast(self, value: str, dtype: type[np.generic]) -> str:
        """Convert a value's elements."""
        return self.node("Cast", value, to=onnx().helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    @property
    def table_bytes(self) -> int:
        """Bytes of all parts of tables."""
        return sum(part.nbytes for part in self._parts.values())

    def model(self, inputs: list[Any], outputs: list[Any], data: Path | None) -> Any:
        """Return the model.

        Args:
            inputs: descriptions of the inputs.
            outputs: descriptions of the outputs.
            data: file to write the tables to, next to that of the model; None: they become part of the model.

        Raises:
            OSError: the file cannot be written.
        """
        helper, numpy_helper = onnx().helper, onnx().numpy_helper
        constants = [numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        if data is None:
            constants += [numpy_helper.from_array(part.whole(), name) for name, part in self._parts.items()]
        else:
            constants += _external(list(self._parts.values()), data)
        graph = helper.make_graph(self._nodes, "dlrm", inputs, outputs, constants)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="dlrm-pl",
        )


def _external(parts: list[Part], data: Path) -> Iterator[Any]:
    """Write parts to a file one after the other, and yield tensors that refer to them."""
    tensor_proto, helper = onnx().TensorProto, onnx().helper
    with data.open("wb") as handle:
        for part in parts:
            handle.write(bytes(-handle.tell() % _ALIGNMENT))
            offset = handle.tell()
            step = max(1, _BLOCK_BYTES * part.shape[0] // max(part.nbytes, 1))
            for start in range(0, part.shape[0], step):
                handle.write(part.read(start, min(start + step, part.shape[0])).data)
            tensor = tensor_proto(
                name=part.name,
                dims=part.shape,
                data_type=helper.np_dtype_to_tensor_dtype(part.dtype),
                data_location=tensor_proto.EXTERNAL,
            )
            for key, value in (("location", data.name), ("offset", offset), ("length", part.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            yield tensor
