"""The workflows run what a developer runs, with few permissions, and .github/ has the form that GitHub requires."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.release.checkout import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
MAKEFILE = (ROOT / "Makefile").read_text()
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "custom.github-workflows-require-timeout": WORKFLOWS,
    "vendor.github-issue-forms": sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")),
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}

by_name = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def workflow(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_have_the_form_that_github_asks(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("check_jsonschema")
    files = SCHEMAS[schema]
    assert files
    from check_jsonschema import main

    with pytest.raises(SystemExit) as ended:
        main(["--builtin-schema", schema, *map(str, files)])
    assert ended.value.code == 0, capsys.readouterr().out


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_workflows_are_as_actionlint_advises() -> None:
    ended = subprocess.run(["actionlint", *WORKFLOWS], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stdout


@by_name
def test_actions_are_named_by_commit_and_version(path: Path) -> None:
    used = re.findall(r"uses: (.*)$", path.read_text(), re.MULTILINE)
    assert len(used) == sum("uses" in step for step in steps(path))
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action
    for action in re.findall(r"(?:container|image): (.*)$", path.read_text(), re.MULTILINE):
        assert re.search(r"@sha256:[0-9a-f]{64}  # ", action), action


def test_an_action_has_the_same_version_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action in re.findall(r"uses: (.*)$", path.read_text(), re.MULTILINE):
            versions.setdefault(action.partition("@")[0], set()).add(action)
    assert all(len(found) == 1 for found in versions.values()), versions


@by_name
def test_a_workflow_may_read_and_its_jobs_do_what_they_are_for(path: Path) -> None:
    stated = workflow(path)
    assert stated["permissions"] == {"contents": "read"}
    allowed = {
        ("release", "publish"): {"id-token": "write"},
        ("release", "announce"): {"contents": "write"},
        ("site", "deploy"): {"pages": "write", "id-token": "write"},
    }
    for name, job in stated["jobs"].items():
        assert job.get("permissions") == allowed.get((path.stem, name)), name
        assert job["timeout-minutes"] <= 180
    assert "secrets." not in path.read_text()
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@by_name
def test_commands_are_those_of_a_developer(path: Path) -> None:
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    for command in commands:
        # Text from others, such as the name of a branch, would be run as a command.
        assert "${{" not in command
        for target in re.findall(r"\bmake ([\w-]+)", command):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
        for module in modules_of(command):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def modules_of(command: str) -> list[str]:
    return re.findall(r"-m (deploy[\w.]*)", command)


def test_the_release_asks_a_module_for_the_version() -> None:
    commands = [step["run"] for step in steps(GITHUB / "workflows" / "release.yml") if "run" in step]
    assert [module for command in commands for module in modules_of(command)] == ["deploy.release.version"]


def test_a_change_is_tested_by_the_one_command() -> None:
    assert ".ci/run" in [step.get("run") for step in workflow(WORKFLOWS[0])["jobs"]["test"]["steps"]]
    assert WORKFLOWS[0].stem == "ci"


def test_packages_are_checked_before_a_job_that_only_publishes_publishes_them() -> None:
    jobs = workflow(GITHUB / "workflows" / "release.yml")["jobs"]
    assert jobs["check"]["needs"] == "build"
    assert jobs["publish"]["needs"] == "check"
    assert jobs["publish"]["environment"]["name"] == "pypi"
    # A job that may publish runs no code of the project, because that code could ask PyPI for a token.
    assert not any("checkout" in step.get("uses", "") for step in jobs["publish"]["steps"])


def test_the_wheel_is_built_for_every_python_that_is_tried() -> None:
    jobs = workflow(GITHUB / "workflows" / "release.yml")["jobs"]
    assert "manylinux_2_28" in jobs["build"]["container"]
    assert {"3.11", "3.12", "3.13"} <= set(jobs["check"]["strategy"]["matrix"]["python"])
