"""docs/guides/ shows the translator's real output, and its tables are complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dlrm_pl.model.parameter_names import upstream_ops
from tests.docs.pages import ROOT, blocks_of, command_of, statements
from tests.docs.running import run_command
from tests.support import tiny

GUIDES = ROOT / "docs" / "guides"
PAGE = GUIDES / "from_dlrm.md"


@pytest.mark.parametrize("guide", ["from_dlrm", "from_lpot"])
def test_commands_of_the_translation_are_those_that_are_shown(
    guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    translation, result = blocks_of(GUIDES / f"{guide}.md")[:2]
    arguments = command_of(statements(translation.text)[0])
    assert arguments is not None
    assert arguments[0] == "from-dlrm-flags"
    status, output = run_command(arguments)
    assert status == 0, output
    assert statements(result.text) == [line for line in output.splitlines() if line.startswith("dlrm-pl ")]
    assert (tmp_path / "mine.yaml").is_file()


def test_ops_of_the_page_are_those_of_upstream() -> None:
    plain, stubbed = upstream_ops(tiny.ARCHITECTURE), upstream_ops(tiny.ARCHITECTURE, stubbed=True)
    assert plain["bot_l.2"] == stubbed["bot_l.3"] == "bottom_mlp.1"
    assert plain["top_l.2"] == "top_mlp.1"
    assert plain["emb_l.2"] == "tables.2"


def test_flags_of_the_table_are_flags_of_upstream() -> None:
    known = set(re.findall(r"^\| `(--[\w-]+)`", (ROOT / "docs" / "upstream_flags.md").read_text(), re.MULTILINE))
    rows = re.findall(r"^\| (`--.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert len(rows) > 10
    for flag in re.findall(r"--[\w-]+", " ".join(rows)):
        assert flag in known, flag


def test_shown_command_is_one_line_for_the_shell() -> None:
    assert len(shlex.split(statements(blocks_of(PAGE)[0].text)[0])) > 20
