"""The certificate judges the guards on its own rows, and a repetition says what moved."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from conftest import data

import dlrm_pl.artifact.build as build_module
from dlrm_pl.artifact.build import Outcome, build_artifact
from dlrm_pl.artifact.certificate import Certificate
from dlrm_pl.artifact.movement import METRICS, Movement
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.summary import guards_line
from dlrm_pl.errors import VerificationError
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.metrics.paired_sums import PairedSums
from dlrm_pl.quantization.certification import Certification, certify
from dlrm_pl.quantization.criterion import Criterion
from dlrm_pl.quantization.tuning import TuningSettings


def test_certificate_states_every_guard_with_its_tolerance(outcome: Outcome) -> None:
    guards = {guard["name"]: guard for guard in load_artifact(outcome.path).certificate.guards}
    assert list(guards) == ["log_loss", "normalized_entropy", "calibration_ratio"]
    assert [guard["tolerance"] for guard in guards.values()] == [0.005, 0.005, 0.02]
    assert all(guard["held"] for guard in guards.values())
    certificate = outcome.certificate
    for name, guard in guards.items():
        assert guard["before"] == certificate.fp32[name]
        assert guard["after"] == certificate.int8[name]
        # The metrics sum in float32, the guards in float64.
        assert guard["change"] == pytest.approx(guard["after"] / guard["before"] - 1, abs=1e-6)
        assert 0 < guard["standard_error"] < 0.01


def test_guard_that_breaks_on_the_certification_rows_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = build_module.certify

    def overbidding(*args: Any) -> Certification:
        found = real(*args)
        return dataclasses.replace(
            found, predictions=dataclasses.replace(found.predictions, after=1.5 * found.predictions.before)
        )

    monkeypatch.setattr(build_module, "certify", overbidding)
    settings = TuningSettings(criterion=Criterion(relative=0.02))
    outcome = build_artifact(tiny.model(), data(), settings, tmp_path / "a")
    assert outcome.tuning.accepted
    assert not outcome.certificate.accepted
    assert not load_artifact(outcome.path).manifest.accepted
    assert "the calibration ratio went from" in outcome.certificate.reason
    assert "(+50.000%), beyond the guard of 2.00%" in outcome.certificate.reason
    assert "calibration ratio +50.0000% (tolerance 2.00%, BROKEN)" in guards_line(outcome.certificate)


def test_guards_that_are_off_are_measured_and_not_judged(tmp_path: Path) -> None:
    criterion = Criterion(relative=0.02, log_loss=None, calibration_ratio=None)
    outcome = build_artifact(tiny.model(), data(), TuningSettings(criterion=criterion), tmp_path / "a")
    assert [guard["tolerance"] for guard in outcome.certificate.guards] == [None, None, None]
    assert outcome.certificate.accepted
    assert guards_line(outcome.certificate).count("not judged") == 3


def test_score_of_the_users_own_has_no_tolerance_of_auroc(tmp_path: Path) -> None:
    criterion = Criterion(absolute=0.0)
    outcome = build_artifact(
        *(tiny.model(), data(), TuningSettings(criterion=criterion), tmp_path / "a"), eval_func=lambda model: 7.0
    )
    assert outcome.certificate.score.endswith("<lambda>")
    assert outcome.certificate.accepted


def test_certificate_names_the_kernels_and_versions(outcome: Outcome) -> None:
    certificate = outcome.certificate
    assert certificate.kernels == dict.fromkeys(certificate.int8_ops, isa())
    assert {"dlrm_pl", "torch", "numpy", "python", "processor", "isa", "features"} <= set(certificate.machine)


def test_sums_give_the_change_and_error_of_the_rows_themselves() -> None:
    rng = np.random.default_rng(5)
    before = rng.uniform(0.01, 0.2, 5000)
    after = before * 1.01 + rng.normal(0, 1e-3, 5000)
    sums = PairedSums()
    for part in np.array_split(np.arange(5000), 7):
        sums.add(before[part], after[part])
    ratio = after.mean() / before.mean()
    assert sums.change == pytest.approx(ratio - 1)
    expected = (after - ratio * before).std() / before.mean() / np.sqrt(5000)
    assert sums.standard_error == pytest.approx(expected, rel=1e-6)


def test_error_of_the_change_covers_what_resampling_shows() -> None:
    rng = np.random.default_rng(6)
    before = rng.uniform(0.01, 0.2, 2000)
    after = before + rng.normal(0, 5e-3, 2000)
    sums = PairedSums()
    sums.add(before, after)
    changes = []
    for _ in range(400):
        rows = rng.integers(0, 2000, 2000)
        changes.append(after[rows].mean() / before[rows].mean() - 1)
    assert sums.standard_error == pytest.approx(np.std(changes), rel=0.15)


def test_histograms_count_every_row_of_both_models() -> None:
    batches = tiny.batches(3, 700, seed=9)
    found = certify(tiny.model(), tiny.model(), batches)
    for histogram in found.histograms:
        assert histogram.rows.sum() == 2100
        assert histogram.clicks.sum() == found.positives
        groups = histogram.groups(10)
        assert sum(rows for _, _, rows in groups) == 2100
        assert len(groups) <= 10
        assert sum(share * rows for _, share, rows in groups) == pytest.approx(found.positives)
        assert [mean for mean, _, _ in groups] == sorted(mean for mean, _, _ in groups)
    total = sum(mean * rows for mean, _, rows in found.histograms[0].groups())
    assert total / found.positives == pytest.approx(found.fp32.calibration_ratio, rel=1e-5)


MACHINE = {"processor": "Xeon", "isa": "amx_int8", "torch": "2.13.0", "features": ["avx2", "amx_int8"]}
SCORES = dict.fromkeys(METRICS, 0.8)


def test_another_machine_is_named_field_by_field() -> None:
    here = MACHINE | {"processor": "EPYC", "isa": "avx2", "features": ["avx2"]}
    found = Movement.between(MACHINE, here, {"int8": (SCORES, SCORES | {"auroc": 0.8 + 2e-6})})
    assert found.machine == {
        "processor": ("Xeon", "EPYC"),
        "isa": ("amx_int8", "avx2"),
        "features": (["avx2", "amx_int8"], ["avx2"]),
    }
    words = found.describe()
    assert "processor: Xeon -> EPYC; isa: amx_int8 -> avx2; features: avx2, amx_int8 -> avx2" in words
    assert "int8 auroc 0.80000000 -> 0.80000200 (+2.0e-06)" in words
    assert "log loss" not in words
    assert found.largest == pytest.approx(2e-6)
    assert found.beyond(1e-6) == ["int8 auroc"]
    assert found.beyond(1e-5) == []


def test_nothing_moved_is_said_as_well() -> None:
    words = Movement.between(MACHINE, MACHINE, {"int8": (SCORES, SCORES)}).describe()
    assert words == "the machine is the same. No metric moved by a bit"


def test_score_that_became_nan_is_beyond_any_tolerance() -> None:
    found = Movement.between(MACHINE, MACHINE, {"int8": (SCORES, SCORES | {"log_loss": float("nan")})})
    assert found.beyond(1e9) == ["int8 log_loss"]


def test_check_names_metric_values_and_machine(outcome: Outcome) -> None:
    certificate = outcome.certificate
    moved = Movement.between(
        certificate.machine,
        certificate.machine | {"isa": "another"},
        {"int8": (certificate.int8, certificate.int8 | {"log_loss": 0.5})},
    )
    with pytest.raises(
        VerificationError, match=r"log_loss of the int8 model: .* recomputed it is 0\.50000000.*another"
    ):
        certificate.check(moved, certificate.rows, 1e-4)
    certificate.check(moved, certificate.rows, 10.0)
    with pytest.raises(VerificationError, match="Certified on 3000 rows, but the dataset has 2999"):
        certificate.check(moved, 2999, 10.0)


def test_certificate_survives_its_file(outcome: Outcome, tmp_path: Path) -> None:
    outcome.certificate.write(tmp_path)
    assert Certificate.read(tmp_path) == outcome.certificate
    assert json.loads((tmp_path / "certificate.json").read_text())["format"] == 2
