"""Tab completion in a shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from dlrm_pl.cli import main as cli
from tests.support.commands import run


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab")
    path = tmp_path_factory.mktemp("completion") / "dlrm-pl.bash"
    with path.open("w") as file, redirect_stdout(file):
        assert run("completion", "bash") == 0
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "among"),
    [
        (["syn"], {"synthesize"}),
        (["preprocess", "--max_"], {"--max_ind_range"}),
        (["preprocess", "--layout", "k"], {"kaggle"}),
        (["fit", "--trainer.max_e"], {"--trainer.max_epochs"}),
        (["fit", "--data.fol"], {"--data.folder"}),
        (["quantize", "--objective", ""], {"size", "latency"}),
        (["fit", "-c", "quick"], {"quickstart"}),
        (["inspect", "clic"], {"clicks"}),
    ],
)
def test_bash_completes_commands_options_choices_and_files(
    script: Path, tmp_path: Path, words: list[str], among: set[str]
) -> None:
    (tmp_path / "clicks").mkdir()
    line = " ".join(["dlrm-pl", *words])
    quoted = " ".join(f"'{word}'" for word in ["dlrm-pl", *words])
    program = (
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; COMP_LINE='{line}'; COMP_POINT={len(line)}; "
        "$(complete -p dlrm-pl | sed 's/.*-F \\([^ ]*\\).*/\\1/') 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert among <= set(done.stdout.split()), done


def test_zsh_has_a_script_too(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert run("completion", "zsh") == 0
    text = capsys.readouterr().out
    assert text.startswith("#compdef dlrm-pl")
    assert all(name in text for name in cli.ORDER)


def test_missing_package_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert run("completion", "bash") == 2
    assert 'pip install "dlrm-pl[completion]"' in capsys.readouterr().err
