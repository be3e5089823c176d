"""The float model as ONNX, written by PyTorch's own exporter."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.rivals.one_hot import OneHotModel
from dlrm_pl.export.onnx.library import onnx
from dlrm_pl.model.dlrm import DLRM

DENSE, INDICES, LOGIT, TABLE = "dense", "indices", "logit", "table_"


class OnnxGraph:
    """The float model as ONNX, with the tables as inputs, so that neither a file nor a quantizer copies them.

    Args:
        model: float model.
        calibration: re-iterable batches; the first is also the exporter's example input.
    """

    def __init__(self, model: DLRM, calibration: Iterable[ClickBatch]) -> None:
        self._model = model
        self.calibration = calibration
        self.tables: dict[str, Tensor] = {
            f"{TABLE}{number}": weight.detach() for number, weight in enumerate(model.embedding_bags.parameters())
        }

    @cached_property
    def proto(self) -> Any:
        """The exported model, for any batch size: ``dense``, ``indices`` and the tables in, ``logit`` out."""
        example = next(iter(self.calibration))
        batch = torch.export.Dim("batch")
        module = OneHotModel(self._model, with_tables=False).eval()
        names = [DENSE, INDICES, *self.tables]
        with torch.inference_mode(False), torch.no_grad():
            program: Any = torch.onnx.export(
                module,
                (example.dense, example.indices, list(self.tables.values())),
                None,
                dynamo=True,
                input_names=names,
                output_names=[LOGIT],
                dynamic_shapes=({0: batch}, {1: batch}, [None] * len(self.tables)),
                verbose=False,
            )
        return program.model_proto

    def save(self, path: Path) -> None:
        """Write the model without its tables."""
        path.write_bytes(self.proto.SerializeToString())

    def feeds(self) -> list[dict[str, npt.NDArray[Any]]]:
        """Return the inputs for each calibration batch."""
        tables = {name: table.numpy() for name, table in self.tables.items()}
        return [
            {DENSE: batch.dense.numpy(), INDICES: np.ascontiguousarray(batch.indices.numpy())} | tables
            for batch in self.calibration
        ]


def with_external_tables(path: Path, tables: dict[str, Tensor]) -> bytes:
    """Read a model, and turn the inputs that are its tables into initializers.

    Args:
        path: file of the exported model, which may have been quantized afterwards.
        tables: tables by name.

    Returns:
        The serialized model. Its tables are external initializers, which the program that runs it must provide.
    """
    model = onnx().load(path)
    others = [value for value in model.graph.input if value.name not in tables]
    del model.graph.input[:]
    model.graph.input.extend(others)
    for name, table in tables.items():
        tensor = onnx().TensorProto(name=name, data_type=onnx().TensorProto.FLOAT, dims=table.shape)
        tensor.data_location = onnx().TensorProto.EXTERNAL
        for key, value in (("location", "tables"), ("offset", "0"), ("length", str(table.numel() * 4))):
            tensor.external_data.add(key=key, value=value)
        model.graph.initializer.append(tensor)
    content: bytes = model.SerializeToString()
    return content
