"""Which rivals take part: missing ones are named with what installs them; unsuitable ones with the reason."""

from __future__ import annotations

import dataclasses
from importlib import metadata

import pytest

from dlrm_pl import extras
from dlrm_pl.benchmark.contenders import Contenders, float_contenders
from dlrm_pl.benchmark.rivals import choice, rival
from dlrm_pl.benchmark.rivals.choice import NAMES, with_rivals
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.extras import require_fbgemm
from tests.support import tiny

FLOATS = Contenders((), {})


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that all programs are installed."""
    monkeypatch.setattr(choice, "missing_packages", lambda modules: "")
    monkeypatch.setattr(choice, "require_fbgemm", lambda: None)


@pytest.mark.usefixtures("everything")
def test_programs_that_are_asked_for_take_part_in_the_order_of_their_names() -> None:
    found = with_rivals(FLOATS, tiny.model(), tiny.batches(2, 8), ["fbgemm", "onnxruntime", "fbgemm"])
    assert [contender.name for contender in found.available] == [
        "onnxruntime_fp32",
        "onnxruntime_int8_dynamic",
        "onnxruntime_int8_static",
        "fbgemm_int8",
        "fbgemm_int4",
    ]
    assert found.unavailable == {}


def test_what_is_not_installed_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival.importlib.util, "find_spec", lambda module: None)
    found = with_rivals(FLOATS, tiny.model(), tiny.batches(2, 8), ["onnxruntime", "openvino", "pt2e"])
    assert found.available == ()
    assert len(found.unavailable) == 7
    for reason in found.unavailable.values():
        assert 'pip install "dlrm-pl[rivals]"' in reason
    assert "onnx and onnxscript and openvino and nncf are not installed" in found.unavailable["OpenVINO int8"]


@pytest.mark.usefixtures("everything")
def test_bags_are_scored_by_those_that_take_them() -> None:
    floats = float_contenders(tiny.model(), tiny.bags(2, 8))
    found = with_rivals(floats, tiny.model(), tiny.bags(2, 8), NAMES)
    names = {contender.name for contender in found.available} - {contender.name for contender in floats.available}
    assert names == {"fbgemm_int8", "fbgemm_int4", "bf16_max_autotune"}
    assert "these bags have several rows" in found.unavailable["ORT int8 dynamic"]
    architecture = dataclasses.replace(tiny.ARCHITECTURE, pooling=("sum", "mean", "sum"))
    mixed = with_rivals(FLOATS, tiny.model(0, architecture), tiny.bags(2, 8), ["fbgemm"])
    assert "sums the bags of some and averages those of others" in mixed.unavailable["FBGEMM int8"]


@pytest.mark.usefixtures("everything")
def test_without_a_bf16_model_there_is_none_to_tune() -> None:
    floats = Contenders((), {"bf16 compiled": "no memory"})
    found = with_rivals(floats, tiny.model(), tiny.batches(2, 8), ["max_autotune"])
    assert found.unavailable == {"bf16 compiled": "no memory", "bf16 autotuned": "no memory"}


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"torch": "2.13.0+cpu"}, r"FBGEMM is not installed.*fbgemm-gpu-cpu==1\.8\.0"),
        ({"torch": "2.13.0", "fbgemm-gpu-cpu": "1.9.0"}, r"torch 2\.13 needs FBGEMM 1\.8, but 1\.9\.0 is installed"),
        ({"torch": "2.15.0", "fbgemm-gpu": "1.9.0"}, r"no version for torch 2\.15 is known"),
    ],
)
def test_fbgemm_must_fit_torch(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], message: str) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(extras, "version", version)
    with pytest.raises(ConfigurationError, match=message):
        require_fbgemm()
    found = with_rivals(FLOATS, tiny.model(), tiny.batches(2, 8), ["fbgemm"])
    assert found.unavailable.keys() == {"FBGEMM int8", "FBGEMM int4"}
