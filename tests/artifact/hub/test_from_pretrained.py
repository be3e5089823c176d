"""Artifacts are downloaded from the Hub exactly as they were pushed, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.artifact.store import Artifact, load_artifact
from dlrm_pl.errors import ArtifactError, ConfigurationError, HubError
from tests.support.commands import ROOT
from tests.support.hub.client import environment, use_hub
from tests.support.hub.repositories import Blob, Repository
from tests.support.hub.server import Hub
from tests.support.server.artifacts import random_fields


@pytest.fixture
def pushed(hub: Hub, artifact: Artifact) -> Repository:
    artifact.push_to_hub("me/shop")
    return hub.repositories["me/shop"]


def test_it_scores_as_before(artifact: Artifact, pushed: Repository) -> None:
    loaded = Artifact.from_pretrained("me/shop")
    assert type(loaded) is Artifact
    assert loaded.manifest == artifact.manifest
    assert loaded.certificate == artifact.certificate
    rows = random_fields(50)
    np.testing.assert_array_equal(loaded.predict(rows), artifact.predict(rows))


def test_only_the_files_of_the_manifest_are_downloaded(hub: Hub, artifact: Artifact, pushed: Repository) -> None:
    pushed.write("pytorch_model.bin", b"\x80\x04 anything")
    loaded = Artifact.from_pretrained("me/shop")
    assert {path.name for path in loaded.path.iterdir()} == {*artifact.manifest.files, "manifest.json"}
    assert not any("pytorch_model" in request for request in hub.requests if "/resolve/" in request)


def test_a_second_time_it_comes_from_the_cache(hub: Hub, pushed: Repository) -> None:
    first = Artifact.from_pretrained("me/shop").path
    hub.requests.clear()
    assert Artifact.from_pretrained("me/shop").path == first
    assert not any("/resolve/" in request or "/cdn/" in request for request in hub.requests)
    hub.requests.clear()
    assert Artifact.from_pretrained("me/shop", local_files_only=True).path == first
    assert Artifact.from_pretrained("me/shop", revision=first.name).path == first
    assert hub.requests == []


def test_the_cache_may_be_elsewhere(pushed: Repository, tmp_path: Path) -> None:
    assert Artifact.from_pretrained("me/shop", cache_dir=tmp_path / "there").path.is_relative_to(tmp_path / "there")


def test_a_revision_is_a_branch_or_a_commit(artifact: Artifact, pushed: Repository) -> None:
    before = pushed.refs["main"]
    pushed.write("model.safetensors", b"broken")
    with pytest.raises(ArtifactError, match=r"model\.safetensors: checksum mismatch"):
        Artifact.from_pretrained("me/shop")
    assert Artifact.from_pretrained("me/shop", revision=before).manifest == artifact.manifest
    artifact.push_to_hub("me/shop", revision="next", overwrite=True)
    assert Artifact.from_pretrained("me/shop", revision="next").path.name == pushed.refs["next"]
    with pytest.raises(HubError, match=r"has no revision 'nothing'"):
        Artifact.from_pretrained("me/shop", revision="nothing")


def test_files_damaged_on_the_way_are_noticed_and_fetched_again_if_asked(hub: Hub, pushed: Repository) -> None:
    oid = pushed.tree()["table-00-int8.safetensors"].sha256
    hub.alter = lambda name, content: content[:-1] + b"!" if name == oid else content
    for _ in range(2):  # Nothing of it is used, but the damaged file is now in the cache.
        with pytest.raises(ArtifactError, match=r"table-00.*checksum mismatch.*from me/shop.*force_download=True"):
            Artifact.from_pretrained("me/shop")
    hub.alter = lambda name, content: content
    with pytest.raises(ArtifactError, match="checksum mismatch"):
        Artifact.from_pretrained("me/shop")
    assert Artifact.from_pretrained("me/shop", force_download=True).certificate.accepted


def test_a_download_that_ends_early_is_noticed(hub: Hub, pushed: Repository) -> None:
    oid = pushed.tree()["table-00-int8.safetensors"].sha256
    hub.alter = lambda name, content: content[:-5] if name == oid else content
    with pytest.raises((HubError, ArtifactError, OSError), match=r"Consistency check failed|checksum mismatch"):
        Artifact.from_pretrained("me/shop")


def test_a_repository_without_an_artifact_is_said(hub: Hub) -> None:
    hub.repositories["me/other"] = Repository("me/other")
    with pytest.raises(ArtifactError, match=r"me/other: holds no artifact: manifest\.json is missing"):
        Artifact.from_pretrained("me/other")
    hub.repositories["me/other"].write("manifest.json", b'{"files": {"../../x": ""}}')
    with pytest.raises(ArtifactError, match="this version reads formats"):
        Artifact.from_pretrained("me/other")


def test_a_manifest_cannot_ask_for_files_by_a_pattern(
    hub: Hub, artifact: Artifact, pushed: Repository, tmp_path: Path
) -> None:
    artifact.manifest.files["[a-z]*"] = "0" * 64
    artifact.manifest.write(tmp_path)
    pushed.add(
        pushed.tree()
        | {"manifest.json": Blob((tmp_path / "manifest.json").read_bytes(), False), "evil.bin": Blob(b"", False)},
        "hostile",
        "main",
    )
    with pytest.raises(ArtifactError, match="is missing"):
        Artifact.from_pretrained("me/shop")
    assert not any("evil.bin" in request for request in hub.requests)


def test_private_repositories_take_a_token(
    hub: Hub, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.push_to_hub("me/secret", private=True)
    assert Artifact.from_pretrained("me/secret").certificate.accepted
    use_hub(hub, tmp_path / "other", monkeypatch, token=None)
    with pytest.raises(HubError, match=r"me/secret on http.*no such repository, or your token has no access to it"):
        Artifact.from_pretrained("me/secret")
    with pytest.raises(HubError, match="no such repository"):
        Artifact.from_pretrained("me/nothing")


def test_arguments_are_checked(hub: Hub) -> None:
    with pytest.raises(ConfigurationError, match="is not a repository"):
        Artifact.from_pretrained("shop")
    with pytest.raises(ConfigurationError, match="checksums="):
        Artifact.from_pretrained("me/shop", checksums="some")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="repo_id="):
        Artifact.from_pretrained(Path("me/shop"))  # type: ignore[arg-type]
    assert hub.requests == []


def test_without_a_connection_the_cache_is_used(hub: Hub, pushed: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Artifact.from_pretrained("me/shop").path
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    assert Artifact.from_pretrained("me/shop").path == first
    with pytest.raises(HubError, match=r"me/else on http://127.*not complete in the cache.*cannot be reached"):
        Artifact.from_pretrained("me/else")


def test_offline_mode_asks_nobody(hub: Hub, artifact: Artifact, pushed: Repository, tmp_path: Path) -> None:
    """Runs in its own process, because the library reads the environment variables at import."""
    program = "from dlrm_pl.artifact.hub.download import download_artifact as f; print(f('me/shop'))"

    def run(cache: Path, **more: str) -> subprocess.CompletedProcess[str]:
        variables = os.environ | environment(hub, cache, **more)
        return subprocess.run(
            [sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=250, cwd=ROOT
        )

    first = run(tmp_path / "home")
    assert first.returncode == 0, first.stderr
    assert load_artifact(first.stdout.strip(), checksums="always").manifest == artifact.manifest
    hub.requests.clear()
    assert run(tmp_path / "home", HF_HUB_OFFLINE="1").stdout == first.stdout
    refused = run(tmp_path / "empty", HF_HUB_OFFLINE="1")
    assert refused.returncode != 0
    assert "HubError: me/shop on http://127.0.0.1" in refused.stderr
    assert "not complete in the cache" in refused.stderr
    assert hub.requests == []
