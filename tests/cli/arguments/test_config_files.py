"""The YAML files that come with the program are found by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dlrm_pl.cli import main as cli
from dlrm_pl.cli.arguments import config_files
from dlrm_pl.cli.arguments.config_files import config_names, with_config_files
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.program import program_name


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(*args: str) -> list[str]:
    names = {str(path): name for name, path in config_names().items()}
    return [names.get(arg, arg) for arg in with_config_files(list(args))]


def test_files_of_the_package_are_those_of_the_checkout() -> None:
    top = Path(__file__).parents[3] / "configs"
    files = {path.relative_to(top).with_suffix("").as_posix(): path.read_bytes() for path in top.rglob("*.yaml")}
    assert {name: path.read_bytes() for name, path in config_names().items()} == files


@pytest.mark.parametrize(
    "value", ["quickstart", "experiment/quickstart", "quickstart.yaml", "configs/experiment/quickstart.yaml"]
)
def test_run_is_found_by_name(value: str) -> None:
    assert found("-c", value, "--seed_everything", "1") == ["-c", "experiment/quickstart", "--seed_everything", "1"]
    assert with_config_files([f"--config={value}"]) == [f"--config={config_names()['experiment/quickstart']}"]


def test_what_adds_to_a_run_and_parts_of_one_are_found_by_name() -> None:
    assert found("-c", "int8") == ["-c", "quantization/int8"]
    assert found("--model", "quickstart", "--data", "quickstart") == [
        "--model",
        "model/quickstart",
        "--data",
        "data/quickstart",
    ]
    assert found("--trainer", "cpu") == ["--trainer", "trainer/cpu"]
    assert found("--trainer", "nothing") == ["--trainer", "nothing"]


def test_file_of_the_user_comes_first(tmp_path: Path) -> None:
    (tmp_path / "quickstart").write_text("model: {}")
    assert found("-c", "quickstart") == ["-c", "quickstart"]
    (tmp_path / "quickstart").unlink()
    (tmp_path / "quickstart").mkdir()
    assert found("-c", "quickstart") == ["-c", "experiment/quickstart"]


def test_yaml_instead_of_a_name_is_left_to_the_parser() -> None:
    for value in ("{model: {}}", "a: 1\nb: 2", "/absolute/file.yaml"):
        assert found("-c", value) == ["-c", value]


@pytest.mark.parametrize("value", ["seed", "quantization/seed", "configs/quantization/seed.yaml"])
def test_former_name_is_found_with_a_warning(value: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="dlrm_pl"):
        assert found("-c", value) == ["-c", "quantization/lpot_example"]
    assert f"{value}: this configuration is now called" in caplog.text
    assert found("--model", "seed") == ["--model", "seed"]


def test_name_of_several_files_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for group in ("experiment", "quantization"):
        (tmp_path / group).mkdir()
        (tmp_path / group / "both.yaml").touch()
    monkeypatch.setattr(config_files, "FOLDER", tmp_path)
    with pytest.raises(
        ConfigurationError, match="both: is ambiguous: it could be experiment/both or quantization/both"
    ):
        with_config_files(["-c", "both"])


@pytest.mark.parametrize(
    ("value", "hint"), [("quikstart", "experiment/quickstart"), ("quantisation/int8.yaml", "quantization/int8")]
)
def test_wrong_name_suggests_one(value: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "-c", value]) == 2
    assert f"{value}: this is neither a file nor the name of an included configuration" in (
        error := capsys.readouterr().err
    )
    assert f"Did you mean {hint}? `python cli.py configs list` lists" in error
    with pytest.raises(ConfigurationError, match=r"included configuration\. `"):
        with_config_files(["-c", "nothing_like_it"])


@pytest.mark.parametrize("option", [["-c", "quickstart"], ["--config=experiment/quickstart"]])
@pytest.mark.parametrize(
    ("command", "called"), [(["predict", "--artifact", "x"], "predict --artifact"), (["verify"], "verify")]
)
def test_commands_without_a_trainer_need_no_run(
    command: list[str], called: str, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, *option]) == 2
    assert f"`{called}` uses none of its settings. Leave out" in capsys.readouterr().err


def test_files_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["configs", "list"]) == 0
    *lines, empty, how = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(config_names())
    assert all(len(line.split()) > 2 for line in lines)  # Each says what it is.
    assert any(line.startswith("experiment/quickstart     A small DLRM") for line in lines)
    assert empty == ""
    assert how.endswith("fit -c quickstart")


def test_copies_refer_to_each_other_and_are_not_replaced_when_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert cli.main(["configs", "copy"]) == 0
    changed = tmp_path / "configs" / "model" / "quickstart.yaml"
    changed.write_text("embedding_dim: 4")
    assert cli.main(["configs", "copy"]) == 2
    assert "quickstart.yaml: already exists. Give --overwrite" in capsys.readouterr().err
    assert changed.read_text() == "embedding_dim: 4"
    assert cli.main(["configs", "copy", "--overwrite"]) == 0
    assert changed.read_bytes() == config_names()["model/quickstart"].read_bytes()


@pytest.mark.parametrize(
    ("started", "checkout", "name"),
    [
        ("/usr/bin/dlrm-pl", True, "dlrm-pl"),
        ("cli.py", True, "python cli.py"),
        ("/usr/bin/pytest", True, "python cli.py"),
        ("/usr/bin/pytest", False, "dlrm-pl"),
    ],
)
def test_program_is_called_as_it_was_started(
    started: str, checkout: bool, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    if not checkout:
        monkeypatch.setattr("dlrm_pl.program._CHECKOUT", tmp_path / "cli.py")
    assert program_name() == name


def test_messages_use_the_name_of_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dlrm-pl"])
    assert cli.main(["inspect"]) == 2
    assert "`dlrm-pl inspect --help` explains every option" in capsys.readouterr().err
    assert cli.overview().startswith("usage: dlrm-pl COMMAND")
