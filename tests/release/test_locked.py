""".ci/constraints.txt locks every package that the project requires, and the list of a release agrees with it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.release.checkout import ROOT
from deploy.release.problem import ReleaseError
from deploy.release.sbom import EXTRAS, check_sbom

CONSTRAINTS = (ROOT / ".ci" / "constraints.txt").read_text()


def locked() -> dict[str, str]:
    lines = [line for line in CONSTRAINTS.splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def project_requires() -> list[Requirement]:
    """Return the requirements in pyproject.toml, because the installed metadata may be older."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in EXTRAS.split(",") for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in (*project["dependencies"], *extras)]


def brought() -> set[str]:
    """Return the names of all installed packages that the requirements pull in."""
    found: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(r.name), extra) for r in project_requires() for extra in ("", *r.extras)]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        name, extra = package
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)]
    return {name for name, _ in found}


def test_every_package_that_the_project_brings_is_locked() -> None:
    names = set(locked())
    assert names == {canonicalize_name(name) for name in names}
    # CUDA's libraries come with some builds of torch; the locked build is the image's, for the CPU.
    assert {name for name in brought() if not re.match("nvidia-|cuda-|triton", name)} == names
    assert list(locked()) == sorted(locked())


def test_locked_versions_are_in_the_ranges_of_the_project() -> None:
    for requirement in project_requires():
        assert locked()[canonicalize_name(requirement.name)] in requirement.specifier


def sbom(**versions: str) -> dict[str, Any]:
    return {"components": [{"name": name, "version": version} for name, version in versions.items()]}


def test_a_list_with_the_locked_versions_is_accepted() -> None:
    check_sbom(sbom(torch="2.13.0+cpu", dlrm_pl="0.1.0", PyYAML="6.0"), "torch==2.13.0\npyyaml==6.0\n")


def test_a_list_with_another_version_or_an_unknown_package_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"torch 2\.14\.0 is installed; \.ci/constraints\.txt says 2\.13\.0"):
        check_sbom(sbom(torch="2.14.0"), "torch==2.13.0\n")
    with pytest.raises(
        ReleaseError, match=r"torch for CUDA was installed, with nvidia-nccl; .*Set PIP_EXTRA_INDEX_URL to "
    ):
        check_sbom(sbom(torch="2.13.0", nvidia_nccl="1.0"), "torch==2.13.0\n")
    with pytest.raises(ReleaseError, match=r"says nothing about it\. Add `left-pad==1\.0` there"):
        check_sbom(sbom(left_pad="1.0"), "# left-pad==1.0\n")
