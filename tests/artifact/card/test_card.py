"""The text of a model card: valid for the Hub, honest about the verdict, and runnable."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from dlrm_pl.artifact.card.card import CARD_NAME, has_unedited_card, render_card
from dlrm_pl.artifact.card.facts import CardFacts, read_facts
from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.store import load_artifact, recognize_artifact
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ArtifactError, ConfigurationError
from dlrm_pl.files.atomic import check_folder
from dlrm_pl.files.replacement import PlannedOutput
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.tune import TuningSettings
from tests.support import tiny
from tests.support.artifacts import change_certificate, change_manifest, data
from tests.support.server import artifacts as with_dictionaries


def certified(facts: CardFacts, **changes: Any) -> CardFacts:
    return dataclasses.replace(facts, certificate=dataclasses.replace(facts.certificate, **changes))


def header(text: str) -> dict[str, Any]:
    return dict(ModelCard(text).data.to_dict())


def code(text: str) -> str:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]


def test_the_hub_reads_the_header(facts: CardFacts) -> None:
    card = ModelCard(render_card(dataclasses.replace(facts, license="apache-2.0")))
    assert (card.data.library_name, card.data.pipeline_tag) == ("dlrm_pl", "tabular-classification")
    assert card.data.license == "apache-2.0"
    assert card.data.model_name == "tiny"
    results = {(result.metric_type, result.metric_name): result for result in card.data.eval_results or []}
    for model, scores in (("int8", facts.certificate.int8), ("fp32 before quantization", facts.certificate.fp32)):
        found = results["roc_auc", f"AUROC, {model}"]
        assert found.metric_value == round(scores["auroc"], 6)
        assert found.dataset_split == "test"
        assert facts.certificate.dataset_fingerprint in found.dataset_name
        assert results["log_loss", f"log loss, {model}"].metric_value == round(scores["log_loss"], 6)
    # Rendered again from what was read, the header is the same: nothing was dropped because the schema lacks it.
    assert ModelCard(f"---\n{card.data}\n---\n").data.to_dict() == card.data.to_dict()
    assert card.data.to_dict()["tags"] == ModelCard(render_card(facts)).data.to_dict()["tags"]


def test_no_licence_is_made_up(facts: CardFacts) -> None:
    assert "license" not in header(render_card(facts))


@pytest.mark.parametrize("name", ["Apache 2.0", "mit\nname: evil", "", "x" * 80])
def test_a_licence_is_an_identifier(facts: CardFacts, name: str) -> None:
    if name:
        with pytest.raises(ConfigurationError, match="not a licence"):
            render_card(dataclasses.replace(facts, license=name))


@pytest.mark.parametrize("verdict", ["not accepted", "undecided"])
def test_a_model_that_was_not_accepted_says_so_first(facts: CardFacts, verdict: str) -> None:
    text = render_card(certified(facts, outcome=verdict, accepted=False, reason="AUROC drop 7.1% of what was"))
    body = text.partition("\n---\n")[2].strip()
    first, second = (part for part in body.split("\n\n")[:2])
    assert first == f"# tiny ({verdict})"
    assert second.startswith("> **")
    assert verdict in second.partition("Reason:")[0]
    assert "AUROC drop 7.1% of what was" in second
    assert verdict.replace(" ", "-") in header(text)["tags"]


def test_an_accepted_model_says_what_it_costs(facts: CardFacts) -> None:
    text = render_card(facts)
    assert "# tiny\n\n**Accepted.** AUROC drop" in text
    certificate = facts.certificate
    assert f"{certificate.fp32['auroc']:.6f} | {certificate.int8['auroc']:.6f}" in text
    low, high = (end / certificate.fp32["auroc"] for end in certificate.auroc_drop_interval or ())
    assert f"The drop lies between {low:.4%} and {high:.4%} with 95% confidence" in text
    assert certificate.model_checksum in text


def test_rows_that_could_not_be_scored_give_no_numbers(facts: CardFacts) -> None:
    unmeasured = Certificate.unmeasured(0.95, "bound")
    text = render_card(certified(facts, **unmeasured, outcome="not accepted", accepted=False, reason="nothing"))
    assert "model-index" not in header(text)
    assert "nan" not in text.lower().split()
    assert all(math.isnan(value) for value in unmeasured["fp32"].values())


def test_the_same_artifact_gives_the_same_card(facts: CardFacts, artifact_path: Path) -> None:
    assert render_card(read_facts(artifact_path, "tiny")) == render_card(facts)


def test_every_file_is_counted_once(facts: CardFacts) -> None:
    text = render_card(facts)
    table = text.partition("## Files\n")[2].partition("\n\n## ")[0]
    sizes = [int(cell.replace(",", "")) for cell in re.findall(r"^\| .* \| ([\d,]+) \|", table, re.MULTILINE)]
    assert sum(sizes[:-1]) == sizes[-1] == sum(facts.sizes.values())


def test_the_code_of_a_card_scores_ids(facts: CardFacts, artifact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(render_card(facts), artifact_path, monkeypatch)


def test_the_code_of_a_card_scores_raw_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_dictionaries.build(tmp_path / "made")
    text = render_card(read_facts(path))
    assert "raw=True" in code(text)
    assert "`vocabulary.safetensors` holds the category values" in text
    scored(text, path, monkeypatch)


def test_the_code_of_a_card_scores_bags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = Columns(
        "click",
        tuple(DenseColumn(name=f"n{number}") for number in range(tiny.ARCHITECTURE.bottom_mlp[0])),
        (SparseColumn(name="tags", at_most=3), SparseColumn(name="shop"), SparseColumn(name="day")),
    )
    rows = data(
        columns=columns,
        calibration=tiny.bags(1, 64, seed=1),
        tuning=tiny.bags(2, 500, seed=2),
        certification=tiny.bags(3, 1000, seed=3),
    )
    settings = TuningSettings(criterion=Criterion(relative=0.05), max_trials=1)
    path = build_artifact(tiny.model(), rows, settings, tmp_path / "made").path
    text = render_card(read_facts(path))
    assert "torch.arange" in code(text)
    scored(text, path, monkeypatch)


def scored(text: str, path: Path, patch: pytest.MonkeyPatch) -> None:
    """Run the card's code in a folder that contains the artifact under the name that the card uses."""
    assert len(code(text).strip().splitlines()) <= 6
    shutil.copytree(path, path.parent / "elsewhere" / "artifact")
    patch.chdir(path.parent / "elsewhere")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code(text), "card", "exec"), {})
    assert re.fullmatch(r"\[0\.\d+\]\n", output.getvalue())


def test_a_repository_is_named_in_the_code(facts: CardFacts) -> None:
    text = render_card(dataclasses.replace(facts, repo_id="me/clicks"))
    assert 'dlrm_pl.Artifact.from_pretrained("me/clicks")' in code(text)
    assert "hf download me/clicks --local-dir artifact" in text


def test_a_folder_that_is_no_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        read_facts(tmp_path)


def test_an_incomplete_artifact_is_refused(artifact_path: Path) -> None:
    (artifact_path / "table-01-int8.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"table-01-int8\.safetensors: is missing"):
        read_facts(artifact_path)


def test_a_certificate_that_was_changed_is_refused(artifact_path: Path) -> None:
    path = artifact_path / "certificate.json"
    path.write_text(path.read_text().replace('"seed": ', '"seed": 1'))
    with pytest.raises(ArtifactError, match=r"certificate\.json: checksum mismatch"):
        read_facts(artifact_path)


def test_ranges_of_rows_that_are_no_numbers_are_refused(artifact_path: Path) -> None:
    change_certificate(artifact_path, lambda values: values["row_ranges"]["tuning"].update(start="<b>"))
    with pytest.raises(ArtifactError, match=r"row_ranges\.tuning\.start"):
        read_facts(artifact_path)


def test_a_recipe_that_is_none_is_refused(artifact_path: Path) -> None:
    change_certificate(artifact_path, lambda values: values["recipe"].update(observer="<b>"))
    change_manifest(artifact_path, lambda manifest: manifest.recipe.update(observer="<b>"))
    with pytest.raises(ArtifactError, match=r"manifest\.json: recipe.*observer"):
        render_card(read_facts(artifact_path))


def test_a_card_in_the_artifact_changes_nothing_else(facts: CardFacts, artifact_path: Path) -> None:
    before = load_artifact(artifact_path, checksums="always").manifest
    (artifact_path / CARD_NAME).write_text(render_card(facts))
    assert load_artifact(artifact_path, checksums="always").manifest == before
    assert render_card(read_facts(artifact_path, "tiny")) == render_card(facts)


@pytest.mark.parametrize("edit", ["", "\nMy own words.\n", "  "])
def test_quantize_replaces_a_card_unless_it_was_edited(facts: CardFacts, artifact_path: Path, edit: str) -> None:
    (artifact_path / CARD_NAME).write_text(render_card(facts).replace("## Use\n", f"## Use\n{edit}"))
    assert has_unedited_card(artifact_path) == (not edit)
    found = recognize_artifact(artifact_path)
    assert found is not None
    assert (CARD_NAME in found.names) == (not edit)
    planned = PlannedOutput("quantize", None, recognize_artifact, overwrite=True)
    if edit:
        with pytest.raises(Exception, match=r"holds files that this command did not write, README\.md"):
            check_folder(artifact_path, planned)
    else:
        check_folder(artifact_path, planned)


def test_another_readme_is_no_card(artifact_path: Path) -> None:
    for content in (b"", b"# mine\n", b"\xff\xfe", os.urandom(2 << 20)):
        (artifact_path / CARD_NAME).write_bytes(content)
        assert not has_unedited_card(artifact_path)
