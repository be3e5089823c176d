"""What command lines and their YAML ask wrongly, in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.cli import main

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{line}: &a{line} [{', '.join([f'*a{line - 1}'] * 10)}]\n" for line in range(1, 11)
)
DEEP = f"seed_everything: {'[' * 20_000}"


@pytest.mark.parametrize("command", ["inspect", "benchmark", "fit", "quantize"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "line 5: more than 10,000 values, aliases counted as what they stand for"),
        (DEEP, "line 1, column 1017: exceeded maximum nesting depth|line 1: nested deeper than 64"),
        ("seed_everything: 1\ntrainer: {callbacks: [}", "line 2, column 23: did not find expected node content"),
        (f"seed_everything: {'9' * 5000}", "line 1: a number of 5,000 digits"),
        ("seed_everything: !!bool x", "it has a value that cannot be made: 'x'"),
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


def test_yaml_that_an_option_names_is_read_with_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(LAUGHS)
    assert main(["fit", f"--model={path}"]) == 2
    assert "line 5: more than 10,000 values" in capsys.readouterr().err
