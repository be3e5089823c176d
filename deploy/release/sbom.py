"""The list of all packages that an installation has, in CycloneDX's form (a "software bill of materials")."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from deploy.release.problem import ReleaseError
from deploy.release.programs import run

EXTRAS = "serve,frames"
"""What deploy/Dockerfile installs."""


def write_sbom(wheel: Path, sources: Path, work: Path, time: int) -> Path:
    """Install a wheel with the versions of .ci/constraints.txt, and list what is installed.

    Args:
        wheel: the wheel.
        sources: the commit's files.
        work: folder for the environment and the file.
        time: date of the list, in seconds since 1970.

    Returns:
        ``dlrm_pl-VERSION.cdx.json``.

    Raises:
        ReleaseError: it has a package in another version than the constraints say, or one that they do not name.
    """
    environment = work / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", environment])
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python"]
    constraints = sources / ".ci" / "constraints.txt"
    run([*pip, "install", "--quiet", "-c", constraints, f"{wheel}[{EXTRAS}]"])
    path = work / f"{'-'.join(wheel.name.split('-')[:2])}.cdx.json"
    command: list[str | Path] = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--pyproject", sources / "pyproject.toml", "--mc-type", "library", "--of", "JSON", "--validate"]
    run([*command, "-o", path, environment / "bin" / "python"], work, {"SOURCE_DATE_EPOCH": str(time)})
    check_sbom(json.loads(path.read_text()), constraints.read_text())
    return path


def check_sbom(sbom: dict[str, Any], constraints: str) -> None:
    """Raise ReleaseError unless every package of the list has the version that the constraints lock."""
    locked = dict(line.split("==") for line in constraints.splitlines() if "==" in line and not line.startswith("#"))
    found = {
        re.sub(r"[-_.]+", "-", component["name"]).lower(): component["version"] for component in sbom["components"]
    }
    if cuda := sorted(name for name in found if name.startswith(("nvidia-", "cuda-", "triton"))):
        raise ReleaseError(
            f"torch for CUDA was installed, with {', '.join(cuda)}; the list is of the build for the CPU. "
            "Set PIP_EXTRA_INDEX_URL to the index of PyTorch's CPU builds."
        )
    for name, version in found.items():
        # A build for one processor has a local version: 2.13.0+cpu.
        if name != "dlrm-pl" and version.partition("+")[0] != locked.get(name):
            raise ReleaseError(
                f"{name} {version} is installed; .ci/constraints.txt says {locked.get(name, 'nothing about it')}. "
                f"Add `{name}=={version.partition('+')[0]}` there, or remove what asks for it."
            )
