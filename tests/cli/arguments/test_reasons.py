"""Errors in options are explained in plain words, for each kind of value that options have.

jsonargparse's errors are plain texts; these tests fail if another version words one of them differently.
"""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml
from jsonargparse import ArgumentParser

from dlrm_pl.cli import main as cli
from dlrm_pl.cli.arguments.reasons import explained, suggestion


@dataclass(frozen=True)
class Inner:
    mode: Literal["first", "all"] = "first"


@dataclass(frozen=True)
class Rule:
    relative: float | None = 0.01
    inner: Inner = field(default_factory=Inner)


class Part:
    """A class that YAML names."""


class Cutter(Part):
    def __init__(self, trials: int = 3, rule: Rule = Rule(), kind: Literal["thin", "thick"] = "thin") -> None:
        self.trials = trials


def command(
    whole: int = 1,
    share: float = 0.5,
    flag: bool = False,
    kind: Literal["dot", "cat"] = "dot",
    bits: Literal[8, 4] = 8,
    rule: Rule = Rule(),
    sizes: list[int] | None = None,
    widths: Sequence[int] = (1, 2),
    maybe: int | None = None,
    either: int | float | None = None,
    switch: bool | int = True,
    order: Literal["total", "day"] | None = None,
    part: Part | None = None,
    parts: list[Part] | Part | None = None,
    table: dict[str, int] | None = None,
    text: str = "a",
    file: Path | None = None,
) -> None:
    """A stand-in for a command with an option of each kind."""


def parser_of_command() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_function_arguments(command, as_group=False)
    return parser


def refusal(*args: str) -> str:
    parser = parser_of_command()
    with pytest.raises(ArgumentError) as caught:
        parser.parse_args(args)
    words = str(explained(str(caught.value), parser))
    for foreign in ("Parser key", "<class", "Literal[", "NoneType", "Union", "Given value", "Subtypes", "\n"):
        assert foreign not in words
    return words


CUTTER = "tests.cli.arguments.test_reasons.Cutter"
VALUES = [
    ("whole", "banana", "whole: 'banana' is not a whole number"),
    ("whole", "1.5", "whole: 1.5 is not a whole number"),
    ("share", "half", "share: 'half' is not a number"),
    ("flag", "maybe", "flag: 'maybe' is not true or false"),
    ("kind", "dt", "kind: 'dt' is not one of dot, cat; did you mean dot?"),
    ("bits", "7", "bits: 7 is not one of 8, 4"),
    ("rule", "{inner: {mode: fist}}", "rule.inner.mode: 'fist' is not one of first, all; did you mean first?"),
    ("rule", "{relative: x}", "rule.relative: 'x' is not a number"),
    ("rule", "{relativ: 3}", "rule: unknown key relativ; did you mean relative?"),
    ("sizes", "[1, x]", "sizes: 'x' is not a whole number"),
    ("sizes", "3", "sizes: 3 is not a list, as in [1, 2]"),
    ("widths", "3", "widths: 3 is not a list, as in [1, 2]"),
    ("maybe", "x", "maybe: 'x' is not a whole number"),
    ("either", "x", "either: 'x' is not a number"),
    ("switch", "x", "switch: 'x' is not true, false or a whole number"),
    ("order", "dy", "order: 'dy' is not one of total, day; did you mean day?"),
    ("part", "Nothing", "part: 'Nothing' is not the name of a class that can be used here"),
    (
        "part",
        "tests.cli.arguments.test_reasons.Cuter",
        f"part: there is no class tests.cli.arguments.test_reasons.Cuter; did you mean {CUTTER}?",
    ),
    ("part", "tests.no_such_file.Cutter", "part: there is no class tests.no_such_file.Cutter"),
    ("part", f"{{class_path: {CUTTER}, init_args: {{trials: x}}}}", "part: Cutter.trials: 'x' is not a whole number"),
    ("parts", f"{{class_path: {CUTTER}, init_args: {{trials: x}}}}", "parts: Cutter.trials: 'x' is not a whole number"),
    (
        "parts",
        f"[{{class_path: {CUTTER}, init_args: {{kind: thn}}}}]",
        "parts: Cutter.kind: 'thn' is not one of thin, thick; did you mean thin?",
    ),
    (
        "parts",
        f"[{{class_path: {CUTTER}, init_args: {{trial: 3}}}}]",
        "parts: Cutter: unknown key trial; did you mean trials?",
    ),
    (
        "parts",
        f"[{{class_path: {CUTTER}, init_args: {{rule: {{relative: x}}}}}}]",
        "parts: Cutter.rule.relative: 'x' is not a number",
    ),
    (
        "parts",
        f"[{{class_path: {CUTTER}, init_args: {{rule: {{relativ: 1}}}}}}]",
        "parts: Cutter.rule: unknown key relativ; did you mean relative?",
    ),
    ("table", "{a: x}", "table: 'x' is not a whole number"),
    ("table", "3", "table: 3 is not a mapping, as in {name: value}"),
]


@pytest.mark.parametrize(("name", "value", "words"), VALUES)
def test_value_of_the_wrong_kind_as_option_and_in_yaml(name: str, value: str, words: str, tmp_path: Path) -> None:
    assert refusal(f"--{name}", value) == words
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({name: yaml.safe_load(value)}))
    assert refusal("-c", str(tmp_path / "a.yaml")) == words


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--whol", "3"], "unknown option --whol; did you mean --whole?"),  # Options are not abbreviated.
        (["--rule.relativ=3"], "unknown option --rule.relativ; did you mean --rule.relative?"),
        (["--xyz", "3"], "unknown option --xyz"),
        (["--whole.folder", "3"], "unknown option --whole.folder; did you mean --whole?"),
        (["--file.name", "x"], "unknown option --file.name; did you mean --file?"),
        (["extra"], "'extra' does not belong to any option"),
        (["--whole"], "--whole needs a value"),
        (["-c", "{whoel: 3}"], "unknown key whoel; did you mean whole?"),
        (["-c", "{rule: {relatve: 3}}"], "rule: unknown key relatve; did you mean relative?"),
        (["--part", CUTTER, "--part.trial", "3"], "part: Cutter: unknown key trial; did you mean trials?"),
        (["-c", "/no/such/file.yaml"], "/no/such/file.yaml: there is no such file"),
        (
            ["--rule", "/no/such/file.yaml"],
            "rule: '/no/such/file.yaml' is neither a YAML file nor a mapping of options",
        ),
        (["-c", "{text: [1]}"], "text: [1] is not text (put it in quotes)"),
        (["--whole", "x" * 100], f"whole: '{'x' * 60}...' is not a whole number"),
    ],
)
def test_wrong_options_and_keys(args: list[str], words: str) -> None:
    assert refusal(*args) == words


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("fit -c quickstart --trainer.max_epochs banana", "trainer.max_epochs: 'banana' is not a whole number"),
        (
            "fit -c quickstart --trainer.max_epoch 3",
            "unknown option --trainer.max_epoch; did you mean --trainer.max_epochs",
        ),
        ("quantize -c quickstart --ouput x", "unknown option --ouput; did you mean --output"),
        ("quantize -c quickstart -c {trainr:\\ 3}", "unknown key trainr; did you mean trainer"),
        ("quantize -c quickstart -c {trainr:\\ {max_epochs:\\ 3}}", "unknown key trainr; did you mean trainer"),
        ("fit -c quickstart -c {dat:\\ {folder:\\ x}}", "unknown key dat; did you mean data"),
        (
            "fit -c quickstart --trainer.callbacks dlrm_pl.QuantizationCallbak",
            "trainer.callbacks: there is no class dlrm_pl.QuantizationCallbak; did you mean "
            "dlrm_pl.QuantizationCallback",
        ),
        ("inspect clicks --jsn", "unknown option --jsn; did you mean --json"),
        ("preprocess --raw_path day --output x", "unknown option --raw_path; did you mean --raw"),
        ("fit", "--data.folder is required"),
        ("inspect", "PATH is required"),
        ("verify", "--artifact and --data are required"),
        ("verify --artifact a --data b --forc", "unknown option --forc; did you mean --force"),
        (
            "synthesize --output x --format rw",
            "format: 'rw' is not one of dataset, raw, csv, parquet; did you mean raw",
        ),
    ],
)
def test_commands_answer_in_one_line_with_the_way_to_their_help(
    args: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [word.replace("\\ ", " ") for word in re.split(r"(?<!\\) ", args)]
    assert cli.main(arguments) == 2
    end = "?" if "did you mean" in words else "."
    assert capsys.readouterr().err == (
        f"error: {words}{end} `python cli.py {arguments[0]} --help` explains every option.\n"
    )


def test_choices_of_several_types_are_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "-c", "quickstart", "--trainer.precision", "banana"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: trainer.precision: 'banana' is not ")
    assert error.count("one of ") == 1
    assert re.search(r"one of [^.]*\b64, 32\b[^.]*bf16-mixed|one of [^.]*bf16-mixed[^.]*\b64, 32\b", error)


def test_names_that_are_not_alike_are_not_suggested() -> None:
    assert suggestion("output", ["input_rows", "seed"]) == ""
    assert suggestion("outptu", ["output", "seed"]) == "; did you mean output?"


def test_other_errors_keep_their_words_on_one_line() -> None:
    assert str(explained('Parser key "rule":\n  Something\n  else.')) == "rule: Something else"


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("model.optimizer", "adam", "; for the MLPs alone, give --model.dense_optimizer adam"),
        ("model.optimizer", "adagard", "; did you mean adagrad?"),
        (
            "model.dense_optimizer",
            "rwsadagrad",
            "; for the tables, and Adagrad for the MLPs, give --model.optimizer rws",
        ),
    ],
)
def test_a_value_of_another_option_is_said_to_be_one(option: str, value: str, expected: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{option}", type=Literal["sgd", "adagrad"])
    with pytest.raises(ArgumentError) as caught:
        parser.parse_args([f"--{option}", value])
    words = str(explained(str(caught.value), parser))
    assert words.startswith(f"{option}: '{value}' is not one of sgd, adagrad{expected}")
