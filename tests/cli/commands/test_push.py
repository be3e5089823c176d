"""The command ``push``, with a Hub on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.support.commands import run
from tests.support.hub.client import use_hub
from tests.support.hub.server import Hub, hub_running

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_running() as running:
        use_hub(running, tmp_path / "cache", monkeypatch)
        yield running


@pytest.fixture
def artifact(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted / "artifact", tmp_path / "int8"))


def test_an_artifact_is_pushed(hub: Hub, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--private", "--license", "mit", "--revision", "next", "--commit_message", "try"]
    assert run("push", str(artifact), "me/clicks", *options, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    page = (ROOT / "docs" / "cli.md").read_text().partition("### `push`\n")[2].partition("\n#")[0]
    assert all(f"`{name}`" in page for name in printed)
    repository = hub.repositories["me/clicks"]
    assert printed["url"] == f"{hub.url}/me/clicks/commit/{repository.refs['next']}"
    assert repository.private
    assert repository.messages[-1] == "try"
    assert b"license: mit" in repository.tree("next")["README.md"].content
    assert {"manifest.json", "certificate.json", "README.md"} <= repository.names("next")


def test_a_damaged_artifact_is_not_pushed(hub: Hub, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (artifact / "report.html").write_text("other")
    assert run("push", str(artifact), "me/clicks") == 2
    assert "report.html: checksum mismatch" in capsys.readouterr().err
    assert not hub.uploaded()


def test_no_token_can_be_given(hub: Hub, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would appear in the shell's history and in the process list, for all to see."""
    assert run("push", str(artifact), "me/clicks", "--token", "hf_test") == 2
    assert "--token" in capsys.readouterr().err
    assert not hub.uploaded()
