"""ONNX Runtime and OpenVINO compute the artifact's logits."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from dlrm_pl.batch import first_samples
from dlrm_pl.export.numbers import numbers_of
from dlrm_pl.export.onnx import graph
from dlrm_pl.export.onnx.target import OnnxTarget
from dlrm_pl.export.openvino.target import OpenVinoTarget
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny
from tests.support.quantization.exported import CASES, Case, make_case

# Models that together have every op. OpenVINO takes a quarter of a second to compile each, and it reads the same
# graph that is checked with ONNX Runtime for all models.
COMPILED = {
    *("int8 bags", "int4, odd", "fp16", "means", "self-interaction, clamped", "concatenation"),
    *("cross network, int4 bags", "cross network of floats"),
}


def tolerances(model: Int8DLRM) -> dict[str, float]:
    """Linears and dot products sum floats in another order; a concatenation and a cross layer do not sum any."""
    kept = "interaction" if model.architecture.interaction != "dot" else ""
    sums = {name: dtype for name, dtype in model.op_dtypes.items() if not name.startswith("tables.") and name != kept}
    return {"rtol": 0.0, "atol": 1e-6 if "fp32" in sums.values() else 0.0}


def test_onnx_gives_the_bits_of_the_artifact(case: Case, tmp_path: Path) -> None:
    model, batch = case
    target = OnnxTarget()
    target.write(numbers_of(model), tmp_path, batch)
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    score = target.logits_of(tmp_path, 1)
    for part in (batch, first_samples(batch, 1), first_samples(batch, 7)):
        with torch.inference_mode():
            torch.testing.assert_close(score(part), model(part), **tolerances(model))


def test_only_standard_ops_are_used(case: Case, tmp_path: Path) -> None:
    model, batch = case
    OnnxTarget().write(numbers_of(model), tmp_path, batch)
    proto = onnx.load(tmp_path / "model.onnx")
    assert {node.domain for node in proto.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 21)]
    products = sum(node.op_type == "MatMulInteger" for node in proto.graph.node)
    assert products == sum(dtype == "int8" for name, dtype in model.op_dtypes.items() if not name.startswith("tables"))


@pytest.mark.parametrize("name", ["int8", "int4, odd", "fp16 bags"])
def test_tables_beside_the_graph_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model, batch = make_case(name)
    monkeypatch.setattr("dlrm_pl.export.onnx.model.INLINE_BYTES", 10)
    monkeypatch.setattr(graph, "_BLOCK_BYTES", 50)
    OnnxTarget().write(numbers_of(model), tmp_path, batch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    with torch.inference_mode():
        torch.testing.assert_close(OnnxTarget().logits_of(tmp_path, 1)(batch), model(batch), rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", [name if name in COMPILED else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_openvino_computes_the_model(tmp_path: Path, name: str) -> None:
    model, batch = make_case(name)
    OpenVinoTarget().write(numbers_of(model), tmp_path, batch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    score = OpenVinoTarget().logits_of(tmp_path, 1)
    for part in (batch, first_samples(batch, 1)):
        with torch.inference_mode():
            torch.testing.assert_close(score(part), model(part), **tolerances(model))


@pytest.mark.parametrize("name", ["int8", "cross network"])
def test_quotients_and_sums_are_rounded_alone(tmp_path: Path, name: str) -> None:
    """With so many rows, some bytes would differ if OpenVINO fused steps."""
    model = make_case(name)[0]
    batch = tiny.batches(1, 20_000, seed=9, architecture=model.architecture)[0]
    OpenVinoTarget().write(numbers_of(model), tmp_path, batch)
    with torch.inference_mode():
        torch.testing.assert_close(OpenVinoTarget().logits_of(tmp_path, 1)(batch), model(batch), rtol=0, atol=0)
