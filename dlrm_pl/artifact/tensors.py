"""Convert an Int8DLRM to named tensors and a description of its ops, and back; tables are kept separate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.errors import ArtifactError, ShapeError
from dlrm_pl.kernels.int8.dtypes import InteractionDtype
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.linear import FloatLinear, Int8Linear
from dlrm_pl.runtime.tables import PackedTables

_WEIGHTS = ("weight", "weight_scale", "bias")
# Fields of an int8 layer that are not tensors; the manifest has them, as exact decimal floats.
_NUMBERS = (
    "input_scale",
    "input_zero_point",
    "output_scale",
    "output_zero_point",
    "relu",
    "quantizes_input",
)


def to_tensors(model: Int8DLRM) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Split a model into its tensors and the description of its ops.

    Returns:
        Tensors of the Linears by name, contiguous; and for each op its dtype and the numbers that are not tensors.
        Packed tables have their own files.
    """
    tensors: dict[str, Tensor] = {}
    ops: dict[str, dict[str, Any]] = {}
    for name, layer in model.layers.items():
        if isinstance(layer, Int8Linear):
            ops[name] = {"dtype": "int8"} | {key: getattr(layer, key) for key in _NUMBERS}
            tensors |= {f"{name}.{key}": getattr(layer, key).contiguous() for key in _WEIGHTS}
        else:
            ops[name] = {"dtype": layer.dtype, "relu": layer.relu}
            tensors |= {f"{name}.weight": layer.weight.contiguous(), f"{name}.bias": layer.bias.contiguous()}
    ops["interaction"] = {"dtype": model.interaction}
    for index, dtype in enumerate(model.tables.dtypes):
        ops[f"tables.{index}"] = {"dtype": dtype, "rows": model.tables.table(index).shape[0]}
    return tensors, ops


def from_tensors(
    architecture: Architecture, ops: dict[str, dict[str, Any]], tensors: dict[str, Tensor], tables: Sequence[Tensor]
) -> Int8DLRM:
    """Build a model from its tensors; tables are not copied, so memory maps remain memory maps.

    Raises:
        ArtifactError: a tensor or an op is missing, or its shape differs from that of the architecture.
    """
    try:
        layers: dict[str, list[Int8Linear | FloatLinear]] = {"bottom_mlp": [], "cross_net": [], "top_mlp": []}
        for name, widths in architecture.linear_shapes.items():
            layers[name.partition(".")[0]].append(_layer(name, ops, tensors, widths))
        _refuse_others(architecture, ops)
        if len(tables) != architecture.num_tables:
            raise ArtifactError(
                f"The manifest states {architecture.num_tables} tables, but has dtypes for {len(tables)}."
            )
        dtypes = [ops[f"tables.{index}"]["dtype"] for index in range(architecture.num_tables)]
        for index, (table, rows) in enumerate(zip(tables, architecture.table_sizes, strict=True)):
            if table.shape[0] != rows:
                raise ArtifactError(
                    f"table {index}: the manifest states {rows} rows, but the file has {table.shape[0]}."
                )
        packed = PackedTables(tables, dtypes, architecture.embedding_dim, architecture.is_mean)
    except KeyError as error:
        raise ArtifactError(
            f"{error.args[0]!r} is missing from the artifact. It is incomplete; quantize again."
        ) from error
    except ShapeError as error:
        raise ArtifactError(f"The weights do not fit the manifest: {error}") from error
    interaction: InteractionDtype = ops["interaction"]["dtype"]
    bottom_mlp, cross_net, top_mlp = layers.values()
    return Int8DLRM(architecture, bottom_mlp, packed, top_mlp, interaction, cross_net).eval()


def _refuse_others(architecture: Architecture, ops: dict[str, dict[str, Any]]) -> None:
    """Refuse ops that a model of the architecture does not have."""
    for name in ops:
        if name not in architecture.linear_shapes and name != "interaction" and not name.startswith("tables."):
            raise ArtifactError(
                f"The manifest has the op {name!r}, but a model of its architecture, with "
                f"interaction={architecture.interaction!r}, has no such op. Quantize again."
            )


def _layer(
    name: str, ops: dict[str, dict[str, Any]], tensors: dict[str, Tensor], widths: tuple[int, int]
) -> Int8Linear | FloatLinear:
    op, weight = ops[name], tensors[f"{name}.weight"]
    if tuple(weight.shape) != widths[::-1]:
        raise ArtifactError(
            f"{name}: the manifest states shape {list(widths[::-1])}, but the weights have {list(weight.shape)}."
        )
    bias = _finite(tensors, f"{name}.bias", widths[1])
    if op["dtype"] == "int8":
        scale = _finite(tensors, f"{name}.weight_scale", widths[1])
        return Int8Linear(weight, scale, bias, **{key: op[key] for key in _NUMBERS})
    if weight.dtype != {"bf16": torch.bfloat16, "fp32": torch.float32}[op["dtype"]]:
        raise ArtifactError(f"{name}: the manifest states {op['dtype']}, but the weights are {weight.dtype}.")
    return FloatLinear(weight, bias, relu=op["relu"], dtype=op["dtype"])


def _finite(tensors: dict[str, Tensor], name: str, outs: int) -> Tensor:
    """Return a tensor with a number per output, or one for all outputs, after checking that each is finite."""
    tensor = tensors[name]
    if not tensor.is_floating_point() or tensor.shape not in ((outs,), (1,)) or not tensor.isfinite().all():
        raise ArtifactError(
            f"{name}: is {tensor.dtype} {list(tensor.shape)}, but must be {outs} finite numbers. Quantize again."
        )
    return tensor
