"""CHANGELOG.md, in the form of Keep a Changelog 1.1.0."""

from __future__ import annotations

import itertools
import re

from release.problem import ReleaseError

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""Headings under a version. Below them, headings of the fourth level may group lines by subject."""

_VERSION = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def check(text: str) -> None:
    """Raise ReleaseError unless every change stands under one of the headings, in a version that has a date."""
    found = list(_VERSION.finditer(text))
    if not found or found[0][1] != "Unreleased":
        raise ReleaseError("CHANGELOG.md has to begin with the heading `## [Unreleased]`")
    if strange := set(re.findall(r"^## .*$", text, re.MULTILINE)) - {match[0] for match in found}:
        raise ReleaseError(f"CHANGELOG.md: {sorted(strange)} is not `## [VERSION] - YYYY-MM-DD`")
    for match in found[1:]:
        if match[2] is None:
            raise ReleaseError(f"CHANGELOG.md: version {match[1]} has no date")
    for number, match in enumerate(found):
        end = found[number + 1].start() if number + 1 < len(found) else len(text)
        _check_section(match[1], text[match.end() : end])


def _check_section(version: str, section: str) -> None:
    before, *kinds = re.split(r"^### ", section, flags=re.MULTILINE)
    if re.search(r"^- ", before, re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md: a change in {version} stands under none of {', '.join(KINDS)}")
    names = [kind.partition("\n")[0] for kind in kinds]
    if names != [kind for kind in KINDS if kind in names]:
        raise ReleaseError(
            f"CHANGELOG.md: the headings in {version} are {', '.join(names)}; they have to be some of "
            f"{', '.join(KINDS)}, each once and in this order"
        )


def cut(text: str, version: str, date: str, repository: str | None) -> str:
    """Give the changes that are not released a version and a date.

    Args:
        text: the file.
        version: the new version.
        date: ``YYYY-MM-DD``.
        repository: address of the repository, for links that compare versions; None leaves them out.

    Returns:
        The new text of the file.

    Raises:
        ReleaseError: the file has another form, the version is there already, or nothing has changed.
    """
    check(text)
    versions = [match[1] for match in _VERSION.finditer(text)]
    if version in versions:
        raise ReleaseError(f"CHANGELOG.md has version {version} already")
    head, _, rest = text.partition("## [Unreleased]\n")
    if not re.search(r"^- ", rest.partition("\n## [")[0], re.MULTILINE):
        raise ReleaseError("CHANGELOG.md says of no change that it is not released yet")
    rest = re.sub(r"^\[[^\]]+\]: .*\n", "", rest, flags=re.MULTILINE).strip("\n")
    text = f"{head}## [Unreleased]\n\n## [{version}] - {date}\n\n{rest}\n"
    return text + _links([version, *versions[1:]], repository) if repository else text


def _links(versions: list[str], repository: str) -> str:
    lines = [f"[Unreleased]: {repository}/compare/v{versions[0]}...HEAD"]
    for newer, older in itertools.pairwise(versions):
        lines.append(f"[{newer}]: {repository}/compare/v{older}...v{newer}")
    lines.append(f"[{versions[-1]}]: {repository}/releases/tag/v{versions[-1]}")
    return "\n" + "\n".join(lines) + "\n"
