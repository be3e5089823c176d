"""OpenVINO: the exported float model in bf16, and versions quantized by NNCF after training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.contenders import BF16_ROUNDING
from dlrm_pl.benchmark.rivals.onnx_graph import DENSE, INDICES, OnnxGraph
from dlrm_pl.benchmark.rivals.rival import Load, Rival
from dlrm_pl.benchmark.timer import Scorer
from dlrm_pl.export.openvino.target import openvino
from dlrm_pl.model.dlrm import DLRM

PACKAGES = {"onnx": "onnx", "onnxscript": "onnxscript", "openvino": "openvino", "nncf": "nncf"}
# If this variable is set, NNCF does not send usage data over the network, which it does by default.
_NO_TELEMETRY = "NNCF_CI"
_TRIES = 10


def rivals(model: DLRM, calibration: Iterable[ClickBatch]) -> tuple[Rival, ...]:
    """Make the rivals: bf16, int8 wherever NNCF finds something to quantize, and only int8 Linears."""
    graph = OnnxGraph(model, calibration)
    weights = sum(weight.numel() for weight in model.parameters())

    def rival(
        name: str, label: str, make: Callable[[], Any], memory: int, min_sqnr_db: float, precisions: Sequence[str]
    ) -> Rival:
        def build() -> Load:
            made = make()
            return lambda batch: _fastest([_scorer(made, batch, precision) for precision in precisions], batch)

        return Rival(
            name, label, nn.Identity(), min_sqnr_db=min_sqnr_db, rounding=BF16_ROUNDING, build=build, memory=memory
        )

    least, either = Rival.min_sqnr_db, ["bf16", "f32"]  # For ops that are not int8; f32 is faster for small batches.

    def everything() -> Any:
        return _quantized(graph, linears_alone=False)

    def linears() -> Any:
        return _quantized(graph, linears_alone=True)

    return (
        rival("openvino_bf16", "OpenVINO bf16", lambda: _model(graph), 0, 20.0, ["bf16"]),
        # NNCF's int8 tables, and the loaded model's own copy of them; fp32 tables are read in place.
        rival("openvino_int8", "OpenVINO int8", everything, 2 * weights, least, either),
        rival("openvino_int8_linears", "OpenVINO MLPs", linears, 0, least, either),
    )


def _model(graph: OnnxGraph) -> Any:
    """Read the exported model; its tables become constants that share the float model's memory."""
    library = openvino()
    model = library.Core().read_model(graph.proto.SerializeToString())
    for parameter in model.get_parameters():
        table = graph.tables.get(parameter.get_friendly_name())
        if table is not None:
            constant = library.opset13.constant(table.numpy(), shared_memory=True)
            parameter.output(0).replace(constant.output(0))
            model.remove_parameter(parameter)
    return model


def _quantized(graph: OnnxGraph, *, linears_alone: bool) -> Any:
    nncf = _nncf()
    model = _model(graph)
    feeds = [[batch.dense.numpy(), batch.indices.numpy()] for batch in graph.calibration]
    settings: dict[str, Any] = {}
    if linears_alone:
        interactions = [op.get_friendly_name() for op in model.get_ops() if _is_interaction(op)]
        settings["ignored_scope"] = nncf.IgnoredScope(types=["Gather"], names=interactions)
    return nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds), **settings)


def _is_interaction(op: Any) -> bool:
    """Tell whether an op multiplies two activations, unlike a Linear, one of whose factors is a constant."""
    factors = [factor.get_source_output().get_node().get_type_name() for factor in op.inputs()]
    return op.get_type_name() == "MatMul" and "Constant" not in factors


def _fastest(scorers: Sequence[Scorer], batch: ClickBatch) -> Scorer:
    """Return the scorer that takes the least time for a batch."""

    def best_time(scorer: Scorer) -> float:
        times = []
        for _ in range(_TRIES):
            began = time.perf_counter()
            scorer(batch)
            times.append(time.perf_counter() - began)
        return min(times)

    return scorers[0] if len(scorers) == 1 else min(scorers, key=best_time)


def _scorer(model: Any, batch: ClickBatch, precision: str) -> Scorer:
    """Compile a model for one batch size; inputs and logits are bound."""
    library = openvino()
    sized = model.clone()
    sized.reshape({DENSE: list(batch.dense.shape), INDICES: list(batch.indices.shape)})
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = library.Core().compile_model(sized, "CPU", settings).create_infer_request()
    logits = torch.empty(batch.num_samples)
    request.set_output_tensor(0, library.Tensor(logits.numpy(), shared_memory=True))

    def score(batch: ClickBatch) -> Tensor:
        request.set_input_tensor(0, library.Tensor(batch.dense.numpy(), shared_memory=True))
        request.set_input_tensor(1, library.Tensor(batch.indices.numpy(), shared_memory=True))
        request.infer()
        return logits.clone()

    return score


@cache
def _nncf() -> Any:
    """Import NNCF, which then sends nothing."""
    with _environment(_NO_TELEMETRY, "1"):
        import nncf
    return nncf


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
