"""Sharded tables need an engine; without it, the message says how to install it."""

from __future__ import annotations

import re
import runpy
from importlib import metadata
from pathlib import Path

import pytest
import torch

from dlrm_pl import extras
from dlrm_pl.distributed import engine
from dlrm_pl.errors import ConfigurationError
from tests.support.processes.sharded import needs_engine

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "torchrec.txt"


def _installed(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(extras, "version", version)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"torch": "2.13.0+cpu"}, r"torchrec, which is not installed"),
        ({"torch": "2.13.0+cpu", "torchrec": "1.8.0"}, r"FBGEMM, which is not installed"),
        ({"torch": "2.13.0", "torchrec": "1.9.2", "fbgemm-gpu-cpu": "1.9.0"}, r"need torchrec 1\.8, but 1\.9\.2 is"),
        ({"torch": "2.14.1", "torchrec": "1.9.2", "fbgemm-gpu": "1.8.0"}, r"need FBGEMM 1\.9, but 1\.8\.0 is"),
        ({"torch": "2.15.0"}, r"no version of it is known for torch 2\.15: torch 2\.13 needs torchrec 1\.8"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], message: str
) -> None:
    _installed(monkeypatch, versions)
    with pytest.raises(ConfigurationError, match=message) as raised:
        engine.require_engine()
    assert "\n" not in str(raised.value)
    if versions["torch"] < "2.15":
        assert "`make sharded`" in str(raised.value)
        assert "requirements/torchrec.txt" in str(raised.value)


def test_requirements_are_a_pair_that_is_accepted() -> None:
    pinned = _pinned(REQUIREMENTS.read_text())
    assert engine.Pair(pinned["torchrec"], pinned["fbgemm-gpu-cpu"]) == engine.PAIRS["2.13"]


@needs_engine
def test_requirements_name_every_package_that_the_engine_needs() -> None:
    """They are installed with --no-deps, so an incomplete list would fail at import."""
    pinned = {name.replace("_", "-") for name in _pinned(REQUIREMENTS.read_text())}
    project = {"torch", "torchmetrics", "numpy", "typing-extensions", "fbgemm-gpu"}
    for name in pinned:
        needed = {
            re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")
            for requirement in metadata.requires(name) or ()
            if ";" not in requirement
        }
        assert needed <= pinned | project, f"{name} needs more"


def test_requirements_follow_the_torch_that_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(REQUIREMENTS.with_name("fitting.py")), run_name="__main__")
    printed = capsys.readouterr().out
    pair = engine.fitting_pair(torch.__version__)
    assert _pinned(printed)["torchrec"] == pair.torchrec
    assert _pinned(printed)["fbgemm-gpu-cpu" if torch.version.cuda is None else "fbgemm-gpu"] == pair.fbgemm


def _pinned(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==([\d.]+)$", text, re.MULTILINE))
