"""ONNX Runtime: the exported float model, and quantized versions from its own quantizers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.rivals.onnx_graph import DENSE, INDICES, LOGIT, OnnxGraph, with_external_tables
from dlrm_pl.benchmark.rivals.rival import Load, Rival
from dlrm_pl.benchmark.timer import Scorer
from dlrm_pl.export.onnx.library import onnxruntime
from dlrm_pl.model.dlrm import DLRM

PACKAGES = {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"}

Write = Callable[[OnnxGraph, Path, Path], None]
"""Reads the float model at the first path and writes a model to the second."""


def rivals(model: DLRM, calibration: Iterable[ClickBatch]) -> tuple[Rival, ...]:
    """Make the rivals: fp32, dynamic int8 (MLPs, fp32 tables), and static int8 (QDQ; MLPs, interaction and tables)."""
    graph = OnnxGraph(model, calibration)
    weights = sum(weight.numel() for weight in model.parameters())  # A session copies its tables, 4 bytes per weight.

    def rival(name: str, label: str, write: Write, memory: int, min_sqnr_db: float) -> Rival:
        def build() -> Load:
            return _load(graph, write)

        return Rival(name, label, nn.Identity(), min_sqnr_db=min_sqnr_db, build=build, memory=memory)

    least = Rival.min_sqnr_db
    return (
        rival("onnxruntime_fp32", "ORT fp32", _write_float, 4 * weights, 60.0),
        rival("onnxruntime_int8_dynamic", "ORT int8 dynamic", _write_dynamic, 4 * weights, least),
        rival("onnxruntime_int8_static", "ORT int8 static", _write_static, 5 * weights, least),
    )


def _write_float(graph: OnnxGraph, plain: Path, written: Path) -> None:
    del graph
    plain.replace(written)


def _write_dynamic(graph: OnnxGraph, plain: Path, written: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    del graph
    quantize_dynamic(plain, written, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)


def _write_static(graph: OnnxGraph, plain: Path, written: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, Any]] = iter(graph.feeds())

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    quantize_static(
        plain,
        written,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _load(graph: OnnxGraph, write: Write) -> Load:
    with tempfile.TemporaryDirectory(prefix="dlrm_pl_") as folder:
        plain, written = Path(folder) / "plain.onnx", Path(folder) / "written.onnx"
        graph.save(plain)
        write(graph, plain, written)
        content = with_external_tables(written, graph.tables)

    def load(batch: ClickBatch) -> Scorer:
        return _session_scorer(content, graph.tables, batch.num_samples)

    return load


def _session_scorer(content: bytes, tables: dict[str, Tensor], size: int) -> Scorer:
    """Load a model that reads the tables in place, for one batch size; inputs and logits are bound."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    values = [runtime.OrtValue.ortvalue_from_numpy(table.numpy()) for table in tables.values()]
    options.add_external_initializers(list(tables), values)
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    binding, logits = session.io_binding(), torch.empty(size)
    binding.bind_output(LOGIT, "cpu", 0, np.float32, (size,), logits.data_ptr())

    def score(batch: ClickBatch) -> Tensor:
        dense, indices = batch.dense.contiguous(), batch.indices.contiguous()
        binding.bind_input(DENSE, "cpu", 0, np.float32, tuple(dense.shape), dense.data_ptr())
        binding.bind_input(INDICES, "cpu", 0, np.int64, tuple(indices.shape), indices.data_ptr())
        session.run_with_iobinding(binding)
        return logits.clone()

    return score
