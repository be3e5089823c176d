"""What the README says can be done, as far as a test can hold it to its word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dlrm_pl.cli import main as cli

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = [
    shlex.split(line, comments=True)[2:]
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("python cli.py")
]


def test_every_command_has_an_example() -> None:
    assert {arguments[0] for arguments in COMMANDS} >= set(cli.ORDER)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_options_of_the_examples_exist(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if "--" in arguments:  # What stands behind it is the reference's.
        arguments = arguments[: arguments.index("--")]
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in arguments:
        if option.startswith("--"):
            assert re.search(rf"^ *(-\w \w+, )?{option}\b", text, re.MULTILINE), option


def test_command_of_the_reference_is_translated_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    (arguments,) = [arguments for arguments in COMMANDS if arguments[0] == "from-dlrm-flags"]
    output = arguments.index("--output")
    assert cli.main([*arguments[:output], *arguments[output + 2 :]]) == 0
    printed = capsys.readouterr().out
    shown = re.search(r"and prints what to run:\n\n```\n(.*?)```", TEXT, re.DOTALL)
    assert shown is not None
    commands = [line for line in shown[1].replace("\\\n    ", "").splitlines() if not line.startswith("#")]
    assert [f"#   {line.replace('mine.yaml', 'run.yaml')}" for line in commands] == [
        line for line in printed.splitlines() if line.startswith("#   ")
    ]


def test_files_that_it_names_are_there() -> None:
    for name in re.findall(r"(?:configs|docs|benchmarks|tests)/[\w./]+\.(?:yaml|svg|md|py)", TEXT):
        assert (ROOT / name).is_file(), name


def test_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
