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


def test_help_of_light_commands_does_not_import_torch() -> None:
    light = ("synthesize", "preprocess", "verify", "inspect", "card", "push", "from-dlrm-flags", "predict --artifact x")
    program = f"""
import sys
from dlrm_pl.cli.main import main
for command in {light}:
    try:
        main([*command.split(), "--help"])
    except SystemExit:
        pass
    assert "torch" not in sys.modules, command
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("-h, --help") == len(light)


def test_overview_says_what_the_docstrings_say() -> None:
    from dlrm_pl.cli.arguments.sweep_options import SweepOptions
    from dlrm_pl.trainer import DLRMTrainer

    for name, summary in cli.TRAINER.items():
        documented = SweepOptions if name == "sweep" else getattr(DLRMTrainer, name)
        assert (documented.__doc__ or "").splitlines()[0] == summary


def explanations(text: str) -> dict[str, str]:
    """Return the explanation of each option in a help text, without its types and defaults."""
    found = {}
    for entry in re.split(r"^(?=  -)", text, flags=re.MULTILINE)[1:]:
        if name := re.match(r"  (?:-\w \w+, )?--([\w.]+)(?:[^\n]*?  +| [^\n]*\n +)", entry):
            words = " ".join(entry[name.end() :].split("\n\n")[0].split())
            words = words.partition("(required" if "(required" in words else "(type:")[0].strip()
            found[name[1]] = re.sub(r" ?\[[^]]*\]$", "", words)
    return found


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("fit", r"(model|data)\.\w+|ckpt_path|weights_only"),
        (
            "quantize",
            r"(model|data)\.\w+|output|relative|absolute|timeout_s|max_trials|strategy|objective|stop_at|seed",
        ),
        ("sweep", r"(model|data)\.\w+|output|space|max_\w+|\w+_per_trial|validations|sampler|pruner|repeats|seed"),
        ("predict", r"data\.predict_\w+|output"),
        ("synthesize", r"\w+"),
        ("preprocess", r"\w+"),
        ("verify", r"\w+"),
        ("fit --trainer.callbacks.help dlrm_pl.QuantizationCallback", r"trainer\.callbacks\.\S+"),
        ("fit --trainer.callbacks.help dlrm_pl.MLPerfLogging", r"trainer\.callbacks\.\S+"),
    ],
)
def test_every_key_of_ours_is_explained_by_help(command: str, options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command.split(), *([] if "help" in command else ["--help_all"])) == 0
    ours = {name: words for name, words in explanations(capsys.readouterr().out).items() if re.fullmatch(options, name)}
    assert len(ours) > 2
    assert [name for name, words in ours.items() if not words] == []


TITLES = ["data", "trainer: the most used of Lightning's options", "common options"]


@pytest.mark.parametrize(
    ("command", "titles"),
    [
        ("fit", ["options of fit", "data", "model", *TITLES[1:2], "callbacks", "common options"]),
        ("sweep", ["options of sweep", "data", "model", *TITLES[1:]]),
        ("validate", ["options of validate", *TITLES]),
        ("test", ["options of test", *TITLES]),
        ("predict", ["options of predict", *TITLES]),
        ("quantize", ["options of quantize", *TITLES[:2], "callbacks", "common options"]),
    ],
)
def test_help_of_trainer_commands_fits_two_screens(
    command: str, titles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, "-c", "no/such/file", "--help") == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) <= (146 if command in ("fit", "sweep") else 100)  # A training has the most options.
    assert max(map(len, lines)) <= 120
    assert re.findall(r"^(\S.{,50}):$", text, re.MULTILINE) == titles
    assert lines[1].startswith("example: python cli.py ")
    shown = explanations(text)
    assert all(shown.values()), shown
    assert len([name for name in shown if name.startswith("trainer.")]) <= 11  # Ten, plus callbacks.
    assert "weights_only" not in shown
    assert not re.search(r",\s+until\b", text)  # The earlier name of the callback's stop_at.
    assert run(command, "--help_all") == 0
    everything = explanations(capsys.readouterr().out)
    assert everything.keys() >= shown.keys() | {"weights_only", "trainer.precision", "model.learning_rate"}
    assert len(everything) > 60


@pytest.mark.parametrize("command", [*cli.LIGHT, "predict --artifact"])
def test_help_of_light_commands_names_what_is_required_and_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command.split(), "--help") == 0
    text = capsys.readouterr().out
    usage, example = text.splitlines()[:2]
    required = re.findall(r"--\w+", usage)
    assert example.startswith(f"example: python cli.py {command.split()[0]} ")
    assert all(option in example for option in required), example
    assert max(map(len, text.splitlines())) <= 120
    assert "Optional[" not in text
    assert "type:" not in text
