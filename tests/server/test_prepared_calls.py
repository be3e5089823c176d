"""A Predictor scores a few rows with the calls that the server prepares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.benchmark.rows import random_batch
from dlrm_pl.kernels.int8.selection import available
from dlrm_pl.runtime.direct import DirectModel
from dlrm_pl.serving.predictor import Predictor


@pytest.mark.skipif(len(available()) < 2, reason="no native kernels were built")
@pytest.mark.parametrize(
    ("threads", "rows", "prepared"), [(1, 2, True), (1, 64, True), (1, 65, False), (2, 15, True), (2, 16, False)]
)
def test_a_predictor_scores_a_few_rows_by_prepared_calls(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, threads: int, rows: int, prepared: bool
) -> None:
    """If several threads would share the rows, they do."""
    calls = []
    few = DirectModel.few
    monkeypatch.setattr(DirectModel, "few", lambda self, batch: calls.append(len(batch.dense)) or few(self, batch))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    batch = random_batch(artifact.model.architecture, rows, seed=1)
    found = Predictor(artifact).predict(batch)
    assert calls == [rows] * prepared
    np.testing.assert_array_equal(found, artifact.predict(batch))
