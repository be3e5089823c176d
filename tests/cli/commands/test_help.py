"""`--help` of the program and of its commands."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from dlrm_pl.cli import main as cli
from tests.support.commands import run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_help_lists_every_command_without_importing_torch() -> None:
    program = "import sys; from dlrm_pl.cli.main import main; main(['--help']); assert 'torch' not in sys.modules"
    text = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    for name in cli.ORDER:
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE)


@pytest.mark.parametrize(
    "command", ["synthesize", "preprocess", "verify", "inspect", "from-dlrm-flags", "predict --artifact x"]
)
def test_help_of_light_commands_does_not_import_torch(command: str) -> None:
    program = (
        "import sys\nfrom dlrm_pl.cli.main import main\n"
        f"try: main({[*command.split(), '--help']!r})\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--help" in result.stdout


def test_overview_says_what_the_docstrings_say() -> None:
    from dlrm_pl.trainer import DLRMTrainer

    for name, summary in cli.TRAINER.items():
        assert (getattr(DLRMTrainer, name).__doc__ or "").splitlines()[0] == summary


def explanations(text: str) -> dict[str, str]:
    """Of each option in the text of a help, what stands beside it, but for its types and defaults."""
    found = {}
    for entry in re.split(r"^(?=  -)", text, flags=re.MULTILINE)[1:]:
        if name := re.match(r"  (?:-\w \w+, )?--([\w.]+)(?:[^\n]*?  +| [^\n]*\n +)", entry):
            words = " ".join(entry[name.end() :].split("\n\n")[0].split())
            found[name[1]] = words.partition("(required" if "(required" in words else "(type:")[0].strip()
    return found


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("fit", r"(model|data)\.\w+|ckpt_path|weights_only"),
        ("quantize", r"(model|data)\.\w+|output|relative|absolute|timeout_s|max_trials|strategy|objective|until|seed"),
        ("predict", r"data\.predict_\w+|output"),
        ("synthesize", r"\w+"),
        ("preprocess", r"\w+"),
        ("verify", r"\w+"),
        ("fit --trainer.callbacks.help dlrm_pl.QuantizationCallback", r"trainer\.callbacks\.\S+"),
        ("fit --trainer.callbacks.help dlrm_pl.MLPerfLogging", r"trainer\.callbacks\.\S+"),
    ],
)
def test_every_key_of_ours_is_explained_by_help(command: str, options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command.split(), *([] if "help" in command else ["--help"])) == 0
    ours = {name: words for name, words in explanations(capsys.readouterr().out).items() if re.fullmatch(options, name)}
    assert len(ours) > 2
    assert [name for name, words in ours.items() if not words] == []
