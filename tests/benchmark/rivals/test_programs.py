"""Each program computes the model's outputs at every batch size, for the rows it is given."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.agreement import check_agreement
from dlrm_pl.benchmark.contenders import float_contenders
from dlrm_pl.benchmark.rivals.choice import RivalName, with_rivals
from dlrm_pl.benchmark.rivals.rival import Rival
from dlrm_pl.model.dlrm import DLRM
from tests.support import tiny

CALIBRATION = tiny.batches(2, 64)


def rivals(
    name: RivalName, model: DLRM | None = None, calibration: list[ClickBatch] | None = None
) -> tuple[DLRM, list[Rival]]:
    model = model or tiny.model()
    calibration = calibration or CALIBRATION
    floats = float_contenders(model, calibration)
    found = with_rivals(floats, model, calibration, [name])
    assert found.unavailable == {}
    return model, [contender for contender in found.available if isinstance(contender, Rival)]


def agree(model: DLRM, found: list[Rival], batches: list[ClickBatch]) -> dict[str, float]:
    """Return the lowest signal-to-noise ratio of each rival over batches of several sizes."""
    worst: dict[str, float] = {}
    with torch.inference_mode():
        for batch in batches:
            for rival in found:
                score = rival.prepare(batch)
                # Twice, because a rival that reuses its output memory must not change earlier results.
                first = score(batch)
                score(batch._replace(dense=batch.dense + 1))
                db = check_agreement(rival, model(batch), first)
                worst[rival.name] = min(db, worst.get(rival.name, db))
    return worst


SIZES = [tiny.batches(1, size, seed=7)[0] for size in (64, 33)]


@pytest.mark.slow
def test_onnx_runtime_computes_the_model() -> None:
    pytest.importorskip("onnxscript")
    model, found = rivals("onnxruntime")
    worst = agree(model, found, SIZES)
    assert list(worst) == ["onnxruntime_fp32", "onnxruntime_int8_dynamic", "onnxruntime_int8_static"]
    assert worst["onnxruntime_fp32"] > 100
    # The quantized forms differ; otherwise nothing was quantized.
    assert 10 < worst["onnxruntime_int8_static"] < 60
    assert 10 < worst["onnxruntime_int8_dynamic"] < 60


@pytest.mark.slow
def test_openvino_computes_the_model() -> None:
    pytest.importorskip("nncf")
    model, found = rivals("openvino")
    worst = agree(model, found, SIZES)
    assert list(worst) == ["openvino_bf16", "openvino_int8", "openvino_int8_linears"]
    assert 20 < worst["openvino_bf16"] < 60
    assert 10 < worst["openvino_int8"] < worst["openvino_int8_linears"] < 60


@pytest.mark.slow
def test_pt2e_computes_the_model() -> None:
    pytest.importorskip("torchao")
    model, found = rivals("pt2e")
    assert 10 < agree(model, found, SIZES)["pt2e_int8"] < 60


@pytest.mark.slow
@pytest.mark.parametrize("interaction", ["dot", "cat"])
@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_fbgemm_computes_the_model_with_bags_too(interaction: str, pooling: str) -> None:
    pytest.importorskip("fbgemm_gpu")
    architecture = dataclasses.replace(tiny.ARCHITECTURE, interaction=interaction, pooling=(pooling,) * 3)
    model = tiny.model(0, architecture)
    for calibration in (CALIBRATION, tiny.bags(2, 64)):
        model, found = rivals("fbgemm", model, calibration)
        sizes = SIZES if calibration is CALIBRATION else [tiny.bags(1, 64, seed=7)[0]]
        worst = agree(model, found, sizes)
        assert worst["fbgemm_int8"] > 15
        assert worst["fbgemm_int4"] > 10


@pytest.mark.slow
def test_tuned_bf16_computes_the_model() -> None:
    model, found = rivals("max_autotune")
    assert 20 < agree(model, found, SIZES[:1])["bf16_max_autotune"] < 60


CROSS = {"interaction": "dcn", "cross_layers": 2, "cross_rank": 4}
MODULES = {"onnxruntime": "onnxscript", "openvino": "nncf", "pt2e": "torchao", "fbgemm": "fbgemm_gpu"}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [CROSS, {"self_interaction": True}], ids=["cross network", "self-interaction"])
@pytest.mark.parametrize("name", MODULES)
def test_other_architectures_are_exported_as_well(name: RivalName, changes: dict[str, object]) -> None:
    pytest.importorskip(MODULES[name])
    model = tiny.model(0, dataclasses.replace(tiny.ARCHITECTURE, **changes))  # type: ignore[arg-type]
    model, found = rivals(name, model)
    # Below the 10 dB required for bf16 rounding: one range for the vectors of all tables, squared, in 8 bits.
    assert min(agree(model, found, SIZES[:1]).values()) > 8
