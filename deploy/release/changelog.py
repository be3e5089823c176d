"""CHANGELOG.md, in the form of Keep a Changelog 1.1.0.

A version has the headings Added, Changed and so on, and subjects under them. Before the release, changes may be listed
by subject instead, each line beginning with its kind: several people who add lines then rarely touch the same place.
"""

from __future__ import annotations

import itertools
import re

from deploy.release.problem import ReleaseError

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""Headings under a version. Below them, headings of the fourth level may group lines by subject."""

_VERSION = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def check(text: str) -> None:
    """Raise ReleaseError unless every change has a kind, and every released version has the right form and a date."""
    found = list(_VERSION.finditer(text))
    if not found or found[0][1] != "Unreleased":
        raise ReleaseError("CHANGELOG.md has to begin with the heading `## [Unreleased]`")
    if strange := set(re.findall(r"^## .*$", text, re.MULTILINE)) - {match[0] for match in found}:
        raise ReleaseError(f"CHANGELOG.md: {sorted(strange)} is not `## [VERSION] - YYYY-MM-DD`")
    for match in found[1:]:
        if match[2] is None:
            raise ReleaseError(f"CHANGELOG.md: version {match[1]} has no date")
    sections = [part.partition("\n")[2] for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    _changes(sections[0])
    for match, section in zip(found[1:], sections[1:], strict=True):
        _check_section(match[1], section)


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
    """Give the unreleased changes a version and a date.

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
    text = re.sub(r"\n+(?:^\[[^\]]+\]: .*\n)+\Z", "\n", text, flags=re.MULTILINE)
    head, _, rest = text.partition("## [Unreleased]\n")
    section, mark, rest = rest.partition("\n## [")
    changes = _changes(section)
    if not changes:
        raise ReleaseError("CHANGELOG.md says of no change that it is not released yet")
    text = f"{head}## [Unreleased]\n\n## [{version}] - {date}\n\n{_by_kind(changes)}{mark[1:]}{rest}"
    return text + _links([version, *versions[1:]], repository) if repository else text


def _changes(section: str) -> list[tuple[str, str, str]]:
    """Kind, subject and text of each change in a section of either form."""
    found = []
    heading = subject = ""
    # Each change, which may have several lines, and each other line.
    for block in re.findall(r"^- .*\n(?: .*\n)*|^.+$", section, re.MULTILINE):
        text = block.strip("\n")
        if text.startswith("#### "):
            subject = text.removeprefix("#### ")
        elif text.startswith("### "):
            heading = text.removeprefix("### ")
            subject = "" if heading in KINDS else heading
        elif text.startswith("- ") and heading in KINDS:
            found.append((heading, subject, text.removeprefix("- ")))
        elif match := re.fullmatch(rf"- ({'|'.join(KINDS)}): (.*)", text, re.DOTALL):
            found.append((match[1], subject, match[2][0].upper() + match[2][1:]))
        elif text:
            raise ReleaseError(
                f"CHANGELOG.md: `{text.partition(chr(10))[0]}` stands under none of the headings {', '.join(KINDS)}, "
                "and does not begin with one of these words and a colon, as `- Added: ` does"
            )
    return found


def _by_kind(changes: list[tuple[str, str, str]]) -> str:
    text = ""
    for kind in KINDS:
        texts: dict[str, list[str]] = {}
        for _, subject, change in (change for change in changes if change[0] == kind):
            texts.setdefault(subject, []).append(f"- {change}\n")
        text += f"### {kind}\n\n" if texts else ""
        for subject in sorted(texts, key=bool):  # Those without a subject first, so that they are not under another.
            text += (f"#### {subject}\n\n" if subject else "") + "".join(texts[subject]) + "\n"
    return text


def _links(versions: list[str], repository: str) -> str:
    lines = [f"[Unreleased]: {repository}/compare/v{versions[0]}...HEAD"]
    for newer, older in itertools.pairwise(versions):
        lines.append(f"[{newer}]: {repository}/compare/v{older}...v{newer}")
    lines.append(f"[{versions[-1]}]: {repository}/releases/tag/v{versions[-1]}")
    return "\n" + "\n".join(lines) + "\n"
