"""Artifacts whose files change or are replaced, also while they are being read."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dlrm_pl.artifact.files as files_module
import dlrm_pl.artifact.store as store_module
from dlrm_pl.artifact.manifest import file_sha256
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import (
    ArtifactError,
    CheckpointError,
    ConfigurationError,
    DatasetError,
    LookupIndexError,
    OutputError,
)
from dlrm_pl.model.weights_file import WeightsFile
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.tune import TuningSettings
from dlrm_pl.serving.predictor import Predictor
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.writer import write_torch_file
from tests.support import tiny
from tests.support.artifacts import build, data


def test_second_run_replaces_the_first_and_gives_the_same_weights(tmp_path: Path) -> None:
    first = build(tmp_path / "a")
    weights = {path.name: file_sha256(path) for path in first.path.glob("*.safetensors")}
    assert len(weights) == 5
    second = build(tmp_path / "a")
    assert {path.name: file_sha256(path) for path in second.path.glob("*.safetensors")} == weights
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]  # Nothing temporary is left.


def test_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="will not be replaced"):
        build(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_failure_in_certification_leaves_the_earlier_artifact(artifact_path: Path) -> None:
    before = file_sha256(artifact_path / "certificate.json")

    def damaged() -> Iterator[ClickBatch]:
        yield tiny.batches(1, 100)[0]
        raise DatasetError("rows that are not those that were written")

    with pytest.raises(DatasetError, match="rows that are not those"):
        build_artifact(tiny.model(), data(certification=damaged()), TuningSettings(), artifact_path, overwrite=True)
    assert file_sha256(artifact_path / "certificate.json") == before
    assert {path.name for path in artifact_path.parent.iterdir()} == {"artifact", ".artifact.trials.jsonl"}


def test_large_artifact_has_its_small_files_checked_and_the_rest_said(
    artifact_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = artifact_path / "table-00-int8.safetensors"
    size = table.stat().st_size
    monkeypatch.setattr(files_module, "_QUICK_BYTES", 1000)
    monkeypatch.setattr(files_module, "_SMALL_BYTES", size - 1)
    large = [path for path in artifact_path.glob("*") if path.stat().st_size >= size and path.name != "manifest.json"]
    with caplog.at_level(logging.INFO):
        load_artifact(artifact_path)
    assert f"{sum(path.stat().st_size for path in large):,} bytes of tables;" in caplog.text
    rewrite(table)
    load_artifact(artifact_path)
    with pytest.raises(ArtifactError, match="checksum mismatch with manifest"):
        load_artifact(artifact_path, checksums="always")
    certificate = artifact_path / "certificate.json"
    monkeypatch.setattr(files_module, "_SMALL_BYTES", certificate.stat().st_size)
    certificate.write_text(certificate.read_text().replace('"seed": 9527', '"seed": 9528'))
    with pytest.raises(ArtifactError, match=r"certificate\.json: checksum mismatch with manifest"):
        load_artifact(artifact_path)


def rewrite(path: Path) -> None:
    """Rewrite a file in place with the same size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as handle:
        handle.write(content)


@pytest.mark.parametrize("name", ["table-00-int8.safetensors", "model.safetensors", "manifest.json"])
def test_file_that_is_rewritten_under_a_reader_is_refused(artifact_path: Path, name: str) -> None:
    loaded = load_artifact(artifact_path)
    (batch,) = tiny.batches(1, 8)
    stream = Predictor(loaded).stream([batch, batch])
    next(stream)
    rewrite(artifact_path / name)
    with pytest.raises(ArtifactError, match=rf"{name}: was changed in place while it was in use"):
        list(stream)


def test_reader_of_an_artifact_that_is_replaced_goes_on_with_the_old_one(artifact_path: Path) -> None:
    predictor = Predictor(load_artifact(artifact_path))
    (batch,) = tiny.batches(1, 8)
    before = predictor.probabilities(batch)
    other = Path(shutil.copytree(artifact_path, artifact_path.with_name("other")))
    shutil.rmtree(artifact_path)
    other.rename(artifact_path)
    (after,) = predictor.stream([batch])
    assert (after == before).all()


def test_artifact_and_predictor_give_the_probabilities_of_the_model(artifact_path: Path) -> None:
    artifact = load_artifact(artifact_path)
    (batch,) = tiny.batches(1, 8)
    expected = torch.sigmoid(artifact.model(batch)).numpy()
    predictor = Predictor(artifact)
    for predict in (artifact.predict, predictor, predictor.predict):
        np.testing.assert_array_equal(predict([batch, batch]), np.tile(expected, 2))
    wrong = ClickBatch(batch.dense, batch.indices + 40)
    with pytest.raises(LookupIndexError):
        artifact.predict(wrong)
    assert repr(predictor) == f"Predictor('{artifact_path}')"


def test_a_wrong_way_of_loading_is_refused(artifact_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="checksums='all' must be one of 'auto', 'always', 'never'"):
        load_artifact(artifact_path, checksums="all")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="pages='big' must be one of 'mapped'"):
        load_artifact(artifact_path, pages="big")  # type: ignore[arg-type]


def test_an_artifact_shows_itself_in_one_line_and_in_one_escaped_table(artifact_path: Path, outcome: Outcome) -> None:
    artifact = load_artifact(artifact_path)
    scores = artifact.certificate.fp32["auroc"], artifact.certificate.int8["auroc"]
    assert repr(artifact).startswith(f"Artifact('{artifact_path}', accepted, AUROC {scores[0]:.6f} -> {scores[1]:.6f}")
    assert len(repr(artifact)) < 200 + len(str(artifact_path))
    html = dataclasses.replace(artifact, path=Path("<b>&"))._repr_html_()
    assert html.startswith("<table><caption>&lt;b&gt;&amp;: accepted</caption>")
    assert "<td>log loss</td>" in html
    assert "AUROC drop" in html
    assert len(html) < 2000
    assert repr(outcome).startswith(f"Outcome('{outcome.path}', accepted, AUROC {scores[0]:.6f}")
    assert outcome._repr_html_() == dataclasses.replace(artifact, path=outcome.path)._repr_html_()


def test_artifact_that_is_replaced_while_it_is_loaded_is_refused(
    artifact_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(artifact_path, artifact_path.with_name("other")))
    load_model = store_module.load_model

    def replaced(*arguments: Any) -> Any:
        shutil.rmtree(artifact_path)
        other.rename(artifact_path)
        return load_model(*arguments)

    monkeypatch.setattr(store_module, "load_model", replaced)
    with pytest.raises(ArtifactError, match=r"manifest\.json: was replaced or removed while it was being opened"):
        load_artifact(artifact_path)


class Touching(TuningListener):
    """Rewrites the checkpoint in place after the first trial."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        rewrite(self.path)


def test_checkpoint_that_changes_in_a_search_ends_it(tmp_path: Path) -> None:
    path, model = tmp_path / "a.ckpt", tiny.model()
    write_torch_file(path, {name: parameter.detach() for name, parameter in model.named_parameters()})
    model.weights_file = WeightsFile(path, TorchFile.open(path).contents)
    settings = TuningSettings(criterion=Criterion(relative=0.02))
    with pytest.raises(CheckpointError, match=r"a\.ckpt: was changed in place"):
        build_artifact(model, data(), settings, tmp_path / "artifact", listeners=[Touching(path)])
    assert not (tmp_path / "artifact").exists()


def test_same_quantization_again_replaces_and_another_needs_overwrite(artifact_path: Path) -> None:
    build(artifact_path)
    other = TuningSettings(criterion=Criterion(relative=0.02), max_trials=3)
    with pytest.raises(
        OutputError,
        match=r"made differently: max_trials changed from 5 to 3\. Choose another folder, or give --overwrite",
    ):
        build_artifact(tiny.model(), data(), other, artifact_path)
    result = json.loads((artifact_path / "result.json").read_text())
    for name in ("max_trials", "timeout_s", "stop_at"):  # An interrupted search leaves this state.
        del result["made_from"][name]
    (artifact_path / "result.json").write_text(json.dumps(result))
    build_artifact(tiny.model(), data(), other, artifact_path)
    assert json.loads((artifact_path / "result.json").read_text())["made_from"]["max_trials"] == 3
