"""Metrics in Prometheus' text format."""

from __future__ import annotations

import re

import pytest

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.server.http.metrics import Metrics
from dlrm_pl.server.models import loaded
from dlrm_pl.server.models.loaded import LoadedModel
from tests.support.server.artifacts import random_rows
from tests.support.server.calls import NAME, Caller, rows_binary

LINE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? (-?[0-9.e+]+|NaN|\+Inf)')


def values(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            assert LINE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name not in found
            found[name] = float(value)
    return found


def test_what_was_asked_is_counted(caller: Caller) -> None:
    before = values(caller.get("/metrics").body.decode())
    for rows in (1, 3):
        assert caller.infer(rows_binary(*random_rows(rows))).status == 200
    assert caller.infer(b"{").status == 400
    answer = caller.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    after = values(text)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown(f'dlrm_pl_requests_total{{model="{NAME}",status="200"}}') == 2
    assert grown(f'dlrm_pl_requests_total{{model="{NAME}",status="400"}}') == 1
    assert grown(f'dlrm_pl_rows_total{{model="{NAME}"}}') == 4
    assert grown(f'dlrm_pl_batch_rows_bucket{{model="{NAME}",le="1"}}') == 1
    assert grown(f'dlrm_pl_batch_rows_bucket{{model="{NAME}",le="+Inf"}}') == 2
    assert grown(f'dlrm_pl_inference_seconds_count{{model="{NAME}"}}') == 3
    assert after[next(name for name in after if name.startswith("dlrm_pl_ready{"))] == 1
    types = re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    assert len(types) == len(set(types))


def test_histogram_counts_each_value_once() -> None:
    metrics = Metrics()
    for seconds in (0.0002, 0.00021, 100):
        metrics.answered("m", 200, seconds)
    found = values(metrics.text().decode())
    assert found['dlrm_pl_inference_seconds_bucket{model="m",le="0.0002"}'] == 1
    assert found['dlrm_pl_inference_seconds_bucket{model="m",le="5.0"}'] == 2
    assert found['dlrm_pl_inference_seconds_bucket{model="m",le="+Inf"}'] == 3
    assert found['dlrm_pl_inference_seconds_sum{model="m"}'] == pytest.approx(100.00041)


def test_without_notifications_a_warning_is_logged_and_files_are_checked(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(descriptors: object) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(loaded, "Changes", fails)
    model = LoadedModel(artifact.path)
    assert "cannot report changes to its files" in caplog.text
    checked = []
    monkeypatch.setattr(type(artifact.watch), "check", lambda self: checked.append(self))
    model.check()
    assert len(checked) == 1
