"""The time of a model by stage, from its own measurement or from its submodules."""

from __future__ import annotations

import pytest

from benchmarks.stages import stage_times
from tests.support import tiny


def test_stages_of_a_float_model_are_its_parts() -> None:
    stages = stage_times(tiny.model(), tiny.batches(2, 64), seconds=0.01)
    assert stages.keys() == {"bottom MLP", "lookups", "top MLP", "interaction and the rest"}
    assert all(value > 0 for value in stages.values())


def test_a_models_own_account_of_its_stages_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    monkeypatch.setattr(type(model), "time_stages", lambda self, batch: {"all": 0.002}, raising=False)
    assert stage_times(model, tiny.batches(1, 4), seconds=0.001) == {"all": 2.0}
