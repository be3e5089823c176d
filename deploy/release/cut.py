"""Give the next release its version, in every file that states it: ``make release VERSION=1.2.3``.

The changes are committed. Nothing is tagged, pushed or published.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
import tomllib
from pathlib import Path

from deploy.release import changelog
from deploy.release.checkout import ROOT, clean_commit
from deploy.release.problem import ReleaseError
from deploy.release.programs import run
from deploy.release.version import PLACES, current

_DATE = re.compile(r"(?<=^date-released: ).+$", re.MULTILINE)


def new_texts(root: Path, version: str, date: str) -> dict[str, str]:
    """What the files of a release contain: each path, relative to the root, with its new text.

    Raises:
        ReleaseError: the version is none, or is not higher than the current one; or the changelog has another form.
    """
    before = current(root)
    if _order(version) <= _order(before):
        raise ReleaseError(f"{version} is not higher than {before}, the current version")
    texts = {
        name: re.sub(pattern, version, (root / name).read_text(), flags=re.MULTILINE)
        for name, pattern in PLACES.items()
    }
    texts["CITATION.cff"], dated = _DATE.subn(date, texts["CITATION.cff"])
    if dated != 1:
        raise ReleaseError("CITATION.cff has to have one line `date-released: YYYY-MM-DD`")
    repository = tomllib.loads(texts["pyproject.toml"])["project"].get("urls", {}).get("Repository")
    texts["CHANGELOG.md"] = changelog.cut((root / "CHANGELOG.md").read_text(), version, date, repository)
    return texts


def _order(version: str) -> tuple[int, int, int, str, int]:
    """The key by which versions are compared."""
    match = re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:(a|b|rc)([1-9]\d*))?", version)
    if not match:
        raise ReleaseError(f"{version!r} is not a version, which is written as 1.2.3, or 1.2.3rc1 before that")
    major, minor, patch, stage, number = match.groups()
    return int(major), int(minor), int(patch), stage or "released", int(number or 0)


def release(root: Path, version: str, date: str, branch: str) -> None:
    """Check the checkout, write the files and commit them.

    Raises:
        ReleaseError: nothing was changed, since something is not as it should be.
    """
    _order(version)
    clean_commit(root)
    if (found := run(["git", "rev-parse", "--abbrev-ref", "HEAD"], root).strip()) != branch:
        raise ReleaseError(f"releases are made from the branch {branch}, and {found} is checked out")
    if run(["git", "tag", "--list", f"v{version}"], root):
        raise ReleaseError(f"there is a tag v{version} already")
    texts = new_texts(root, version, date)
    for name, text in texts.items():
        (root / name).write_text(text)
    run(["git", "commit", "--quiet", "--message", f"release: version {version}", "--", *texts], root)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release.cut", description=__doc__)
    parser.add_argument("version", help="the new version, such as 1.2.3")
    parser.add_argument("--branch", default="main", help="the branch that has to be checked out (default: main)")
    today = datetime.datetime.now(datetime.UTC).date()
    parser.add_argument("--date", default=today, type=datetime.date.fromisoformat, help="date of the release (today)")
    options = parser.parse_args()
    try:
        release(ROOT, options.version, options.date.isoformat(), options.branch)
    except ReleaseError as error:
        sys.exit(f"error: {error}")
    print(run(["git", "show", "--stat", "--format=%h %s"], ROOT), end="")
    print(f"""
Nothing is tagged or published yet. Next:
  make dist dist-check
  git tag --annotate v{options.version} --message "dlrm_pl {options.version}"
  git push origin {options.branch} v{options.version}
""")


if __name__ == "__main__":
    main()
