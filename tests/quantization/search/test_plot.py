"""The picture of a search's trials."""

from __future__ import annotations

import dataclasses

from dlrm_pl.quantization.search.result import TuningResult
from tests.support.quantization import reports


def test_a_result_draws_every_trial_with_a_verdict_by_size_and_speed() -> None:
    trials = tuple(reports.trials(count=8))
    result = TuningResult(baseline=None, trials=trials, best=trials[0], model=None, stopped_because="made up")  # type: ignore[arg-type]
    figure, panels = result.plot()
    assert [axes.get_ylabel() for axes in panels] == ["model size, MiB", "thousand samples/s"]
    assert all(len(axes.containers) == 7 for axes in panels)  # The third failed.
    assert len(figure.legends) == 1
    unknown = tuple(dataclasses.replace(trial, samples_per_s=0.0) for trial in trials)
    assert len(dataclasses.replace(result, trials=unknown, best=unknown[0]).plot()[1]) == 1
    assert dataclasses.replace(result, trials=(trials[2],), best=trials[2]).plot()[1] == []
