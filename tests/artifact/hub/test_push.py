"""Artifacts are pushed whole, with a card, and never replace what somebody else wrote."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path

import pytest

from dlrm_pl.artifact.card.card import CARD_NAME, is_unedited, render_card
from dlrm_pl.artifact.card.facts import read_facts
from dlrm_pl.artifact.manifest import FILE_NAME, file_sha256
from dlrm_pl.artifact.store import Artifact, load_artifact
from dlrm_pl.errors import ArtifactError, ConfigurationError, HubError, OutputError
from tests.support.hub.client import use_hub
from tests.support.hub.repositories import Repository
from tests.support.hub.server import TOKEN, Hub


def written(artifact: Artifact) -> set[str]:
    return {*artifact.manifest.files, FILE_NAME, CARD_NAME}


def test_exactly_the_files_of_the_manifest_and_the_card_are_pushed(hub: Hub, artifact: Artifact) -> None:
    (artifact.path / "notes.txt").write_text("private")
    url = artifact.push_to_hub("me/shop", license="mit")
    repository = hub.repositories["me/shop"]
    assert url == f"{hub.url}/me/shop/commit/{repository.refs['main']}"
    assert repository.names() == written(artifact)
    for name, expected in artifact.manifest.files.items():
        assert repository.tree()[name].sha256 == expected
    assert repository.tree()[FILE_NAME].content == (artifact.path / FILE_NAME).read_bytes()
    card = repository.tree()[CARD_NAME].content.decode()
    assert card == render_card(read_facts(artifact.path, repo_id="me/shop", license="mit"))
    assert 'from_pretrained("me/shop")' in card
    assert len(repository.messages) == 2  # Everything is in one commit.
    assert repository.messages[-1].startswith("Accepted: AUROC 0.9")
    assert not repository.private


def test_large_files_are_pushed_in_parts(hub: Hub, artifact: Artifact) -> None:
    hub.part_bytes = 1000
    artifact.push_to_hub("me/shop")
    tree = hub.repositories["me/shop"].tree()
    large = [name for name in artifact.manifest.files if name.endswith(".safetensors")]
    assert len(large) > 3
    for name in large:
        assert tree[name].large
        assert tree[name].sha256 == artifact.manifest.files[name]


def test_dictionaries_are_warned_of(hub: Hub, artifact: Artifact, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "dlrm_pl"):
        artifact.push_to_hub("me/shop")
    assert "vocabulary.safetensors contains the category values of the log" in caplog.text


def test_a_changed_file_is_noticed_before_anything_is_sent(hub: Hub, artifact: Artifact) -> None:
    path = artifact.path / "result.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ArtifactError, match=r"result\.json: checksum mismatch"):
        artifact.push_to_hub("me/shop")
    assert hub.requests == []


def test_a_file_changed_in_place_since_it_was_loaded_is_noticed(hub: Hub, artifact: Artifact) -> None:
    with (artifact.path / FILE_NAME).open("a") as handle:
        handle.write("\n")
    with pytest.raises(ArtifactError, match="changed in place"):
        artifact.push_to_hub("me/shop")
    assert hub.requests == []


def test_a_missing_file_is_noticed_before_anything_is_sent(hub: Hub, artifact: Artifact) -> None:
    (artifact.path / "table-01-int8.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"table-01-int8\.safetensors: is missing"):
        artifact.push_to_hub("me/shop")
    assert hub.requests == []


def test_a_model_that_was_not_accepted_is_pushed_only_if_asked(hub: Hub, not_accepted: Artifact) -> None:
    with pytest.raises(ArtifactError, match=r"this model is (not accepted|undecided).*allow_not_accepted=True"):
        not_accepted.push_to_hub("me/poor")
    assert hub.requests == []
    not_accepted.push_to_hub("me/poor", allow_not_accepted=True)
    card = hub.repositories["me/poor"].tree()[CARD_NAME].content.decode()
    outcome = not_accepted.certificate.outcome
    assert f"# poor ({outcome})\n\n> **" in card
    assert hub.repositories["me/poor"].messages[-1].startswith(outcome.capitalize())


def test_private_creates_a_private_repository_or_fails(hub: Hub, artifact: Artifact) -> None:
    artifact.push_to_hub("me/secret", private=True)
    assert hub.repositories["me/secret"].private
    artifact.push_to_hub("me/secret", private=True)
    hub.repositories["me/open"] = Repository("me/open")
    with pytest.raises(HubError, match=r"me/open: exists and is public"):
        artifact.push_to_hub("me/open", private=True)
    assert hub.repositories["me/open"].names() == set()


def test_a_branch_is_made(hub: Hub, artifact: Artifact) -> None:
    artifact.push_to_hub("me/shop", revision="candidate", commit_message="try it")
    repository = hub.repositories["me/shop"]
    assert repository.names("candidate") == written(artifact)
    assert repository.names("main") == set()
    assert repository.messages[-1] == "try it"


def test_a_pull_request_leaves_the_branch_alone(hub: Hub, artifact: Artifact) -> None:
    url = artifact.push_to_hub("me/shop", create_pr=True)
    assert url == f"{hub.url}/me/shop/discussions/1"
    assert hub.repositories["me/shop"].names("main") == set()
    assert hub.repositories["me/shop"].names("refs/pr/1") == written(artifact)


def test_a_newer_artifact_takes_the_place_of_the_earlier_one(
    hub: Hub, artifact: Artifact, not_accepted: Artifact
) -> None:
    artifact.push_to_hub("me/shop")
    repository = hub.repositories["me/shop"]
    repository.write("picture.png", b"mine")
    newer = dataclasses.replace(not_accepted)
    (newer.path / "vocabulary.safetensors").rename(newer.path / "words.safetensors")
    manifest = newer.manifest
    manifest.files["words.safetensors"] = manifest.files.pop("vocabulary.safetensors")
    manifest.write(newer.path)
    load_artifact(newer.path, checksums="never").push_to_hub("me/shop", allow_not_accepted=True)
    assert repository.names() == {*manifest.files, FILE_NAME, CARD_NAME, "picture.png"}
    assert repository.tree()[FILE_NAME].content == (newer.path / FILE_NAME).read_bytes()
    assert repository.tree()["picture.png"].content == b"mine"


def test_the_same_artifact_makes_no_second_commit(hub: Hub, artifact: Artifact) -> None:
    first = artifact.push_to_hub("me/shop")
    assert artifact.push_to_hub("me/shop") == first
    assert len(hub.repositories["me/shop"].messages) == 2


@pytest.mark.parametrize("name", [CARD_NAME, FILE_NAME, "model.safetensors"])
def test_files_of_others_are_replaced_only_if_asked(hub: Hub, artifact: Artifact, name: str) -> None:
    hub.repositories["me/other"] = repository = Repository("me/other")
    repository.write(name, b"theirs")
    with pytest.raises(OutputError, match=rf"me/other: contains files .*: {name}\. .*--overwrite"):
        artifact.push_to_hub("me/other")
    assert repository.tree()[name].content == b"theirs"
    artifact.push_to_hub("me/other", overwrite=True)
    assert repository.names() == written(artifact)


def test_a_card_that_was_edited_on_the_hub_is_not_lost(hub: Hub, artifact: Artifact) -> None:
    artifact.push_to_hub("me/shop")
    repository = hub.repositories["me/shop"]
    edited = repository.tree()[CARD_NAME].content + b"\nMy own words.\n"
    repository.write(CARD_NAME, edited)
    with pytest.raises(OutputError, match=r"edited since then: README\.md"):
        artifact.push_to_hub("me/shop")
    assert repository.tree()[CARD_NAME].content == edited
    artifact.push_to_hub("me/shop", overwrite=True)
    assert is_unedited(repository.tree()[CARD_NAME].content.decode())


def test_a_card_of_ones_own_is_pushed_as_it_is(hub: Hub, artifact: Artifact, tmp_path: Path) -> None:
    own = "---\nlicense: mit\n---\n# mine\n"
    (artifact.path / CARD_NAME).write_text(own)
    artifact.push_to_hub("me/shop")
    assert hub.repositories["me/shop"].tree()[CARD_NAME].content.decode() == own
    (tmp_path / "card.md").write_text(own + "other\n")
    artifact.push_to_hub("me/second", card=tmp_path / "card.md")
    assert hub.repositories["me/second"].tree()[CARD_NAME].content.decode() == own + "other\n"
    with pytest.raises(ConfigurationError, match="is used unchanged"):
        artifact.push_to_hub("me/third", license="mit")
    with pytest.raises(ConfigurationError, match=r"nothing\.md: cannot be read"):
        artifact.push_to_hub("me/third", card=tmp_path / "nothing.md")
    assert "me/third" not in hub.repositories


def test_a_card_with_a_header_that_is_no_yaml_is_refused(hub: Hub, artifact: Artifact) -> None:
    (artifact.path / CARD_NAME).write_text("---\na: [\n---\n")
    with pytest.raises(HubError, match=r"me/shop on http://127.*Invalid metadata in README"):
        artifact.push_to_hub("me/shop")
    assert hub.repositories["me/shop"].names() == set()


def test_somebody_elses_commit_meanwhile_is_not_overwritten(hub: Hub, artifact: Artifact) -> None:
    hub.before_commit = lambda repository: repository.write("theirs.txt", b"theirs")
    with pytest.raises(HubError, match=r"status 412 .*Somebody else changed it"):
        artifact.push_to_hub("me/shop")
    assert hub.repositories["me/shop"].names() == {"theirs.txt"}


@pytest.mark.parametrize("repo_id", ["shop", "", "me/shop/more", "me/", "../me/x", "me/sh op", "https://hf.co/me/x"])
def test_a_name_that_is_none_is_refused(hub: Hub, artifact: Artifact, repo_id: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a repository"):
        artifact.push_to_hub(repo_id)
    assert hub.requests == []


def test_no_token_is_said(hub: Hub, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(hub, tmp_path / "other", monkeypatch, token=None)
    with pytest.raises(HubError, match=r"hf auth login"):
        artifact.push_to_hub("me/shop")
    assert hub.repositories == {}


def test_a_token_of_the_library_is_used_and_never_shown(
    hub: Hub, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use_hub(hub, tmp_path / "cache", monkeypatch, token=None)
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache" / "token").write_text(TOKEN)  # Stored as `hf auth login` does.
    with caplog.at_level(logging.DEBUG):
        artifact.push_to_hub("me/shop")
        with pytest.raises(HubError) as refused:
            artifact.push_to_hub("others/shop")
    assert "others/shop" in str(refused.value)
    assert TOKEN not in caplog.text + str(refused.value)


def test_a_hub_out_of_order_is_said(hub: Hub, artifact: Artifact) -> None:
    hub.failures = {"POST /api/models/.*/commit/.*": [500]}
    with pytest.raises(HubError, match=r"status 500 .*out of order.*Try again later"):
        artifact.push_to_hub("me/shop")
    assert hub.repositories["me/shop"].names() == set()
    artifact.push_to_hub("me/shop")  # Large files that were sent before the failure are already there.
    assert hub.repositories["me/shop"].names() == written(artifact)


def test_an_upload_that_arrives_damaged_is_no_commit(hub: Hub, artifact: Artifact) -> None:
    hub.failures = {"PUT /stored/.*": [400]}
    with pytest.raises(HubError, match=r"Error while uploading '.*\.safetensors'"):
        artifact.push_to_hub("me/shop")
    assert hub.repositories["me/shop"].names() == set()


def test_a_hub_that_is_not_there_is_said(hub: Hub, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(HubError, match=r"me/shop on http://127\.0\.0\.1:1: cannot be reached \(ConnectError"):
        artifact.push_to_hub("me/shop")


def test_a_missing_library_names_the_extra(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    for call in (lambda: artifact.push_to_hub("me/shop"), lambda: Artifact.from_pretrained("me/shop")):
        with pytest.raises(ConfigurationError, match=r'pip install "dlrm-pl\[hub\]"'):
            call()


def test_an_artifact_of_a_delta_and_its_base_is_pushed_whole(hub: Hub, artifact: Artifact, tmp_path: Path) -> None:
    delta = tmp_path / "delta"
    shutil.copytree(artifact.path, delta)
    (delta / "table-00-int8.safetensors").unlink()
    load_artifact(delta, bases=[artifact.path]).push_to_hub("me/shop")
    tree = hub.repositories["me/shop"].tree()
    expected = file_sha256(artifact.path / "table-00-int8.safetensors")
    assert tree["table-00-int8.safetensors"].sha256 == expected
