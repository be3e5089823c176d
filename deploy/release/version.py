"""The version of the package, and the files that state it: ``python -m deploy.release.version`` prints it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from deploy.release.checkout import ROOT
from deploy.release.problem import ReleaseError

PLACES = {
    "pyproject.toml": r'(?<=^version = ")[^"]+(?="$)',
    "CITATION.cff": r"(?<=^version: ).+$",
    "deploy/README.md": r"(?<=/dlrm-pl-serve:)[\w.]+",
    "deploy/inference-service.yaml": r"(?<=/dlrm-pl-serve:)[\w.]+",
}
"""Files that state the version, and how; pyproject.toml is where the package has it from."""


def stated(root: Path) -> dict[str, set[str]]:
    """The versions that each of the files states: the same one, or something is wrong."""
    return {name: set(re.findall(pattern, (root / name).read_text(), re.MULTILINE)) for name, pattern in PLACES.items()}


def current(root: Path) -> str:
    """The version that all files state.

    Raises:
        ReleaseError: they state several, or one of them states none.
    """
    found = stated(root)
    versions = set().union(*found.values())
    if len(versions) != 1 or not all(found.values()):
        lines = "\n".join(f"  {name}: {', '.join(sorted(values)) or 'none'}" for name, values in found.items())
        raise ReleaseError(f"these files have to state the same version:\n{lines}")
    return versions.pop()


if __name__ == "__main__":
    try:
        print(current(ROOT))
    except ReleaseError as error:
        sys.exit(f"error: {error}")
