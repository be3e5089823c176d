"""The command ``card``: where it writes, and what it replaces."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dlrm_pl.artifact.card.card import render_card
from dlrm_pl.artifact.card.facts import read_facts
from tests.support.commands import run

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def artifact(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted / "artifact", tmp_path / "int8"))


def test_the_card_is_printed(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(artifact.iterdir())
    assert run("card", str(artifact)) == 0
    assert capsys.readouterr().out == render_card(read_facts(artifact))
    assert sorted(artifact.iterdir()) == before


def test_options_reach_the_card(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--name", "shop", "--license", "mit", "--repo_id", "me/shop"]
    assert run("card", str(artifact), *options) == 0
    assert capsys.readouterr().out == render_card(read_facts(artifact, "shop", license="mit", repo_id="me/shop"))


def test_the_card_goes_into_the_artifact_which_stays_whole(artifact: Path) -> None:
    assert run("card", str(artifact), "--output", str(artifact / "README.md")) == 0
    assert (artifact / "README.md").read_text() == render_card(read_facts(artifact))
    assert run("inspect", str(artifact), "--full") == 0
    # Written again, the text is the same: nothing is lost.
    assert run("card", str(artifact), "--output", str(artifact / "README.md")) == 0


def test_another_file_is_replaced_only_if_asked(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "README.md"
    output.write_text("mine")
    assert run("card", str(artifact), "--output", str(output)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert run("card", str(artifact), "--output", str(output), "--overwrite") == 0
    assert output.read_text() == render_card(read_facts(artifact))


@pytest.mark.parametrize("name", ["manifest.json", "card.md"])
def test_no_other_file_of_the_artifact_is_written(
    artifact: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in artifact.iterdir()}
    assert run("card", str(artifact), "--output", str(artifact / name), "--overwrite") == 2
    assert "has to be named README.md" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in artifact.iterdir()} == before


def test_a_licence_that_is_none_writes_nothing(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("card", str(artifact), "--license", "My Own!", "--output", str(tmp_path / "card.md")) == 2
    assert "not a licence identifier" in capsys.readouterr().err
    assert not (tmp_path / "card.md").exists()


def test_a_folder_that_is_no_artifact_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("card", str(tmp_path)) == 2
    assert "not an artifact: manifest.json is missing" in capsys.readouterr().err


def test_a_card_takes_no_torch(artifact: Path) -> None:
    program = (
        "import sys; from dlrm_pl.cli.main import main\n"
        f"assert main(['card', {str(artifact)!r}]) == 0\n"
        "assert not {'torch', 'pyarrow', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
