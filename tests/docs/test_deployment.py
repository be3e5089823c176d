"""The files in deploy/ start ``serve`` with options that it has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from dlrm_pl.cli.command_table import LIGHT
from dlrm_pl.cli.light import parser_of
from tests.docs.pages import ROOT

DEPLOY = ROOT / "deploy"


def options(words: list[str]) -> dict[str, object]:
    """What ``serve`` reads of its options; exits if one is wrong."""
    parser, _ = parser_of("serve", LIGHT["serve"])
    return dict(vars(parser.parse_args(words)))


def test_every_file_is_named_in_the_docs() -> None:
    page = (ROOT / "docs" / "server.md").read_text()
    for path in DEPLOY.iterdir():
        assert f"](../deploy/{path.name})" in page


def test_image_runs_serve() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[0])
    assert entry[0].endswith("/dlrm-pl")
    assert entry[1] == "serve"
    for given in re.findall(r"dlrm-pl-serve \\\n#\s+(.*)$", text, re.MULTILINE):
        found = options([*entry[2:], *given.split()])
        assert (found["port"], found["host"]) == (8000, "0.0.0.0")
    extras = re.findall(r'"\.\[([\w,]+)\]"', text)[0].split(",")
    assert "serve" in extras
    assert set(extras) <= set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))


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
