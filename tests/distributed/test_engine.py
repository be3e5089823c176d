"""Sharded tables need an engine, and say how to install it."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from dlrm_pl.distributed import engine
from dlrm_pl.errors import ConfigurationError

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "torchrec.txt"


def _installed(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(engine, "version", version)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"torch": "2.13.0+cpu"}, r"torchrec, which is not installed"),
        ({"torch": "2.13.0+cpu", "torchrec": "1.8.0"}, r"FBGEMM, which is not installed"),
        ({"torch": "2.13.0", "torchrec": "1.9.2", "fbgemm-gpu-cpu": "1.9.0"}, r"need torchrec 1\.8, but 1\.9\.2 is"),
        ({"torch": "2.14.1", "torchrec": "1.9.2", "fbgemm-gpu": "1.8.0"}, r"need FBGEMM 1\.9, but 1\.8\.0 is"),
        ({"torch": "2.15.0"}, r"no version for torch 2\.15 is known: torch 2\.13 takes torchrec 1\.8"),
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
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", REQUIREMENTS.read_text(), re.MULTILINE))
    assert pinned["torchrec"].startswith(f"{engine.PAIRS['2.13']}.")
    assert pinned["fbgemm-gpu-cpu"].startswith(f"{engine.PAIRS['2.13']}.")
