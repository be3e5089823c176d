"""The files in deploy/ start ``serve`` with valid options."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from dlrm_pl.cli.command_table import LIGHT
from dlrm_pl.cli.light import parser_of
from tests.docs.pages import ROOT, blocks_of, command_of, statements
from tests.support.server import artifacts as with_dictionaries
from tests.support.server.calls import Caller, rows_text

DEPLOY = ROOT / "deploy"


def options(words: list[str]) -> dict[str, object]:
    """Return the options as ``serve`` parses them; exits if one is wrong."""
    parser, _ = parser_of("serve", LIGHT["serve"])
    return dict(vars(parser.parse_args(words)))


def test_every_file_is_named_in_the_docs() -> None:
    page = (ROOT / "docs" / "server.md").read_text()
    for path in filter(Path.is_file, DEPLOY.iterdir()):
        assert f"](../deploy/{path.name})" in page


def test_image_runs_serve() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[0])
    assert entry[0].endswith("/dlrm-pl")
    assert entry[1] == "serve"
    for given in re.findall(r"dlrm-pl-serve \\\n#\s+(.*)$", text, re.MULTILINE):
        found = options([*entry[2:], *given.split()])
        assert (found["port"], found["host"]) == (8000, "0.0.0.0")


def test_image_is_made_of_files_that_are_there_and_sent_to_the_builder() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {path for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for path in line.split()}
    sent = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built_with = {project["project"]["readme"], *project["project"]["license-files"]}
    built_with |= {f"{command.partition('.')[0]}.py" for command in project["tool"]["setuptools"]["cmdclass"].values()}
    assert built_with <= copied


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_image_is_built_as_hadolint_advises() -> None:
    done = subprocess.run(["hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.stdout == ""


def test_unit_runs_serve_and_gives_it_time_to_stop() -> None:
    path = DEPLOY / "dlrm-pl-serve.service"
    unit = dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE))
    found = options(unit["ExecStart"].split()[2:])
    assert isinstance(found["drain_s"], float)
    assert int(unit["TimeoutStopSec"]) > found["drain_s"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_unit_is_one_of_systemd(tmp_path: Path) -> None:
    text = (DEPLOY / "dlrm-pl-serve.service").read_text().replace("/opt/dlrm_pl/bin/dlrm-pl", "/bin/true")
    (tmp_path / "a.service").write_text(text.replace("User=dlrm\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / "a.service"], capture_output=True, text=True)
    assert done.stderr == ""


def test_service_of_kserve_runs_serve_where_its_probes_look() -> None:
    service = yaml.safe_load((DEPLOY / "inference-service.yaml").read_text())
    predictor = service["spec"]["predictor"]
    container = predictor["containers"][0]
    found = options(container["args"])
    assert found["model"] in ("clicks=/mnt/models", ["clicks=/mnt/models"])
    ports = [container["ports"][0]["containerPort"]]
    ports += [container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")]
    assert set(ports) == {found["port"]}
    assert isinstance(found["drain_s"], float)
    assert predictor["terminationGracePeriodSeconds"] > found["drain_s"]


def test_walk_through_starts_images_with_options_of_serve() -> None:
    """Arguments after the name of the image go to the program in it."""
    found = 0
    for block in blocks_of(DEPLOY / "README.md"):
        for statement in statements(block.text) if block.language == "sh" else ():
            words = shlex.split(statement)
            if words[:2] == ["docker", "run"]:
                mounts = [mount.split(":") for mount in words if mount.endswith(":ro")]
                given = options(words[words.index("dlrm-pl-serve") + 1 :])
                assert str(given["model"]).partition("=")[2].startswith(f"{mounts[0][1]}/")
                assert given["host"] == "0.0.0.0"
                found += 1
            if words[:2] == ["docker", "stop"]:
                drain_s = options(["--model", "a=b"])["drain_s"]
                assert isinstance(drain_s, float)
                assert int(words[words.index("--time") + 1]) > drain_s
                found += 1
    assert found == 2


def test_walk_through_asks_for_what_the_server_has(tmp_path: Path) -> None:
    text = (DEPLOY / "README.md").read_text()
    with Caller({"clicks": with_dictionaries.build(tmp_path / "clicks")}) as caller:
        for path in re.findall(r"curl (?:-f )?http://127\.0\.0\.1:8000(/\S+)", text):
            assert caller.get(path).status == 200, path
        for path in re.findall(r"curl -X POST http://127\.0\.0\.1:8000(/\S+)", text):
            assert caller.post(path, b"").status == 200, path
        metrics = caller.get("/metrics").body.decode()
    names = set(re.findall(r"`(dlrm_pl_\w+)`", text))
    assert len(names) >= 6
    assert all(f"# TYPE {name} " in metrics for name in names)


def test_walk_through_updates_a_model_and_rolls_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the page's own commands; the server checks the folder after each."""
    monkeypatch.chdir(tmp_path)
    with_dictionaries.build(tmp_path / "artifacts" / "quickstart")
    ran = [
        statement
        for block in blocks_of(DEPLOY / "README.md")
        if block.language == "sh" and not block.mark
        for statement in statements(block.text)
        if command_of(statement) is None
    ]
    placed, updated, withdrawn = (
        next(one for one in ran if one.endswith(end)) for end in ("clicks/1", "clicks/2", "-2")
    )
    for statement in ("mkdir -p models/clicks", "mkdir -p models/withdrawn", placed):
        assert statement in ran
        subprocess.run(statement, shell=True, check=True)

    with Caller({"clicks": tmp_path / "models" / "clicks"}) as caller:

        def versions_after(statement: str) -> list[str]:
            subprocess.run(statement, shell=True, check=True)
            assert caller.post("/v2/repository/models/clicks/load", b"").status == 200
            return list(caller.get("/v2/models/clicks").contents["versions"])

        assert caller.get("/v2/models/clicks").contents["versions"] == ["1"]
        assert versions_after(updated) == ["2"]
        assert versions_after(withdrawn) == ["1"]
        rows = with_dictionaries.random_rows(3)
        assert len(caller.infer(rows_text(*rows)).values()) == 3
