"""The comparison of an exported model with its artifact."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.export import target
from dlrm_pl.export.check import Check, check
from tests.support import tiny
from tests.support.quantization.int8_models import lowered


def checked(change: float, tolerance: float = 1e-6) -> Check:
    model = lowered()

    def exported(batch: ClickBatch) -> torch.Tensor:
        with torch.inference_mode():
            logits = model(batch).clone()
        logits[3] += change
        return logits

    return check(model, exported, tiny.batches(3, 100), tolerance=tolerance, programs="a program")


def test_equal_logits_pass() -> None:
    result = checked(0)
    assert result.failure == ""
    assert (result.rows, result.largest_difference, result.equal_share) == (300, 0.0, 1.0)
    assert result.auroc == result.artifact_auroc
    assert "300 rows scored with a program: all logits equal" in result.describe()


def test_the_largest_difference_decides() -> None:
    result = checked(0.5)
    assert "a logit differs by 0.5, but the tolerance is 1e-06" in result.failure
    assert result.equal_share == pytest.approx(297 / 300)
    assert checked(0.5, tolerance=0.6).failure == ""
    assert "a logit differs by inf" in checked(float("nan"), tolerance=10).failure


def test_six_digits_of_the_auroc_decide_as_well() -> None:
    result = Check(100, 1e-7, 0.5, 0.8000000, 0.8000006, 1e-6, "a program")
    assert result.failure == "the AUROC is 0.80000060, but that of the artifact is 0.80000000"
    assert Check(100, 1e-7, 0.5, 0.8000000, 0.8000004, 1e-6, "a program").failure == ""
    assert Check(100, 1e-7, 0.5, None, None, 1e-6, "a program").failure == ""


def test_a_library_that_does_not_name_the_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="no reason"), target.full_disk_as_such(tmp_path / "m.bin"):
        raise RuntimeError("no reason")
    monkeypatch.setattr(target.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(OSError, match="No space left") as caught, target.full_disk_as_such(tmp_path / "m.bin"):
        raise RuntimeError("no reason")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "m.bin")
