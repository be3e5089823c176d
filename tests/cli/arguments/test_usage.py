"""Mistakes in command lines and their YAML are explained in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser, Namespace

from dlrm_pl.cli.arguments.usage import own_errors, with_home
from dlrm_pl.cli.main import main
from dlrm_pl.errors import ConfigurationError, MetricError

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{line}: &a{line} [{', '.join([f'*a{line - 1}'] * 10)}]\n" for line in range(1, 11)
)
DEEP = f"seed_everything: {'[' * 20_000}"


@pytest.mark.parametrize("command", ["inspect", "benchmark"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "line 5: more than 10,000 values, counting all values that the aliases stand for"),
        (DEEP, "line 1, column 1017: exceeded maximum nesting depth|line 1: nested deeper than 64"),
        ("seed_everything: 1\ntrainer: {callbacks: [}", "line 2, column 23: did not find expected node content"),
        (f"seed_everything: {'9' * 5000}", "line 1: a number of 5,000 digits"),
        ("seed_everything: !!bool x", "it has an invalid value: 'x'"),
    ],
)
def test_yaml_beyond_the_limits_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, message: str
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert main([command, "-c", str(path)]) == 2
    error = capsys.readouterr().err
    assert "a.yaml: " in error
    assert any(one in error for one in message.split("|")), error
    assert len(error) < 400


def test_yaml_of_a_training_is_read_with_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(LAUGHS)
    assert main(["fit", "-c", str(path)]) == 2
    assert "model.yaml: line 5: more than 10,000 values" in capsys.readouterr().err
    assert main(["fit", f"--model={path}"]) == 2
    assert "line 5: more than 10,000 values" in capsys.readouterr().err


class Part:
    """A class that a YAML names."""


class NeedsAPackage(Part):
    """Looks for its package when an object is made, as Lightning's loggers do."""

    def __init__(self) -> None:
        import no_such_package  # noqa: F401


class Refuses(Part):
    """Refuses its arguments, as Lightning's callbacks do."""

    def __init__(self, limit: int = 0) -> None:
        raise ValueError(f"a limit of {limit}\nis none")


class Slips(Part):
    """Contains a mistake of its own."""

    def __init__(self) -> None:
        {}["missing"]


def make(kind: Any, value: object) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=kind)
    parser.instantiate(parser.parse_object({"part": value}))


@pytest.mark.parametrize("kind", [Part, Part | None, list[Part] | Part | None])
@pytest.mark.parametrize(
    ("name", "message"), [("NeedsAPackage", "No module named 'no_such_package'"), ("Refuses", "a limit of 0 is none")]
)
def test_what_a_class_refuses_is_one_line(kind: Any, name: str, message: str) -> None:
    """Unlike the parser's message, which lists all types and values."""
    name = f"tests.cli.arguments.test_usage.{name}"
    for value in [{"class_path": name}, [{"class_path": name}]][: 1 + (kind == list[Part] | Part | None)]:
        with pytest.raises(ConfigurationError) as caught, own_errors():
            make(kind, value)
        # The parser does not always say where a ValueError came from.
        assert str(caught.value) in (f"{name}: {message}", message)


def test_mistakes_of_a_class_keep_their_traceback() -> None:
    with pytest.raises(KeyError, match="missing"), own_errors():
        make(Part, {"class_path": "tests.cli.arguments.test_usage.Slips"})
    with pytest.raises(ConfigurationError, match="missing"), own_errors(KeyError):
        raise KeyError("missing")
    with pytest.raises(MetricError, match="ours"), own_errors():
        raise MetricError("ours")


def test_home_directory_is_found_wherever_a_text_begins_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    parsed = Namespace(
        output="~/syn",
        home="~",
        callbacks=[Namespace(class_path="C", init_args={"dirpath": "~/run", "number": 3})],
        nothing=None,
        name="a~/b",
        root="~root/x",
    )
    assert with_home(parsed) == Namespace(
        output="/home/me/syn",
        home="/home/me",
        callbacks=[Namespace(class_path="C", init_args={"dirpath": "/home/me/run", "number": 3})],
        nothing=None,
        name="a~/b",
        root="/root/x",
    )
    with pytest.raises(ConfigurationError, match=r"~no\.such\.user/x: there is no user ~no\.such\.user"):
        with_home("~no.such.user/x")
    assert with_home("~") == "/home/me"
    assert with_home("~about 3") == "~about 3"
