"""A delta beside the artifact that it changes is served as a newer version; a delta for another artifact is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.ptq.quantize import bags_of
from dlrm_pl.quantization.search.settings import TuningSettings
from tests.support import tiny
from tests.support.artifacts import data
from tests.support.server.artifacts import COLUMNS, ENCODER, random_rows
from tests.support.server.calls import NAME, Caller, rows_binary

ROWS = random_rows(5)


@pytest.fixture(scope="module")
def refreshed(served_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The served artifact after more training, with its delta beside it."""
    model = tiny.model()
    with torch.no_grad():
        for table in bags_of(model).weights():
            table[1:4] += 0.5
    base = RefreshBase.load(served_folder, model)
    settings = base.settings(TuningSettings(criterion=Criterion(relative=0.5)))
    rows = data(columns=COLUMNS, dataset_fingerprint=base.artifact.manifest.dataset_fingerprint)
    output = tmp_path_factory.mktemp("refreshed") / "second"
    return build_artifact(model, rows, settings, output, encoder=ENCODER, base=base).path


@pytest.fixture
def models(served_folder: Path, tmp_path: Path) -> Path:
    """A folder that contains one of the versions."""
    shutil.copytree(served_folder, tmp_path / "models" / "1")
    return tmp_path / "models"


def test_a_delta_is_swapped_in(models: Path, refreshed: Path) -> None:
    expected = load_artifact(refreshed).predict(ROWS)
    with Caller({NAME: models}) as caller:
        before = caller.infer(rows_binary(*ROWS)).values()
        shutil.copytree(refreshed.with_name("second.delta"), models / "2")
        assert not list((models / "2").glob("table-*-int8.safetensors"))
        assert not (models / "2" / "vocabulary.safetensors").exists()
        answer = caller.post(f"/v2/repository/models/{NAME}/load", b"")
        assert answer.status == 200, answer.body
        assert caller.get(f"/v2/models/{NAME}").contents["versions"] == ["2"]
        after = caller.infer(rows_binary(*ROWS)).values()
    np.testing.assert_array_equal(after, expected)
    assert not np.array_equal(after, before)
    # A server started now finds the base beside it.
    with Caller({NAME: models}) as caller:
        np.testing.assert_array_equal(caller.infer(rows_binary(*ROWS)).values(), expected)


def test_a_delta_of_another_artifact_is_refused(models: Path, newer_folder: Path, refreshed: Path) -> None:
    shutil.rmtree(models / "1")
    shutil.copytree(newer_folder, models / "1")
    with Caller({NAME: models}) as caller:
        before = caller.infer(rows_binary(*ROWS)).values()
        shutil.copytree(refreshed.with_name("second.delta"), models / "2")
        answer = caller.post(f"/v2/repository/models/{NAME}/load", b"")
        assert answer.status == 409
        assert b"is a delta, but not of" in answer.body
        np.testing.assert_array_equal(caller.infer(rows_binary(*ROWS)).values(), before)
