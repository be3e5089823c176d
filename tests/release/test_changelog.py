"""CHANGELOG.md has the form of Keep a Changelog, and gets a version and links when a release is cut."""

from __future__ import annotations

import re

import pytest

from deploy.release import changelog
from deploy.release.checkout import ROOT
from deploy.release.problem import ReleaseError

TEXT = """# Changelog

## [Unreleased]

### Added

#### Training

- A thing.

### Fixed

- Another.

## [0.1.0] - 2026-01-31

### Added

- All.
"""


BY_SUBJECT = """# Changelog

## [Unreleased]

### Training

- Added: a thing.
- Fixed: `another`, which
  is longer.

### Serving

- Added: more: with a colon.
"""
BY_KIND = """# Changelog

## [Unreleased]

## [0.2.0] - 2026-02-03

### Added

#### Training

- A thing.

#### Serving

- More: with a colon.

### Fixed

#### Training

- `another`, which
  is longer.

"""


def test_the_changelog_has_its_form() -> None:
    changelog.check((ROOT / "CHANGELOG.md").read_text())


def test_changes_by_subject_are_sorted_by_kind() -> None:
    assert changelog.cut(BY_SUBJECT, "0.2.0", "2026-02-03", None) == BY_KIND


def test_no_change_is_lost_of_the_changelog() -> None:
    heading = "## [Unreleased]\n"
    # Right after a release, the section is empty.
    text = (ROOT / "CHANGELOG.md").read_text().replace(heading, f"{heading}\n- Added: something.\n", 1)
    released = changelog.cut(text, "77.8.9", "2026-02-03", None)
    changelog.check(released)
    kinds = rf"^- (?:(?:{'|'.join(changelog.KINDS)}): )?"
    lines = [
        sorted(re.sub(kinds, "- ", line).lower() for line in each.splitlines() if line[:2] in ("- ", "  "))
        for each in (text, released)
    ]
    assert lines[0] == lines[1]


def test_what_is_not_released_becomes_a_version() -> None:
    text = changelog.cut(TEXT, "0.2.0", "2026-02-03", None)
    assert text == TEXT.replace("## [Unreleased]\n", "## [Unreleased]\n\n## [0.2.0] - 2026-02-03\n")
    changelog.check(text)


def test_versions_are_linked_where_the_repository_is_known() -> None:
    text = changelog.cut(TEXT, "0.2.0", "2026-02-03", "https://example.com/x")
    assert text.endswith("""- All.

[Unreleased]: https://example.com/x/compare/v0.2.0...HEAD
[0.2.0]: https://example.com/x/compare/v0.1.0...v0.2.0
[0.1.0]: https://example.com/x/releases/tag/v0.1.0
""")
    text = text.replace("## [Unreleased]\n", "## [Unreleased]\n\n### Changed\n\n- More.\n")
    again = changelog.cut(text, "0.2.1", "2026-02-04", "https://example.com/x")
    assert again.count("[0.2.0]: ") == 1
    assert again.count("[Unreleased]: ") == 1
    assert "[0.2.1]: https://example.com/x/compare/v0.2.0...v0.2.1\n" in again
    changelog.check(again)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("### Fixed", "### Bugs", r"`- Another\.` stands under none of the headings Added, .*as `- Added: ` does"),
        ("- Another.", "Another.", r"`Another\.` stands under none"),
        ("### Added\n\n- All", "### Bugs\n\n- All", r"the headings in 0\.1\.0 are Bugs; they have to be some of Added"),
        ("- All.", "- All.\n\n### Added\n\n- More.", "each once and in this order"),
        ("### Added\n\n- All", "- All", r"a change in 0\.1\.0 stands under none of Added"),
        ("[0.1.0] - 2026-01-31", "[0.1.0]", r"version 0\.1\.0 has no date"),
        ("[0.1.0] - 2026-01-31", "0.1.0 (2026-01-31)", r"'## 0\.1\.0 \(2026-01-31\)'.* is not `## \[VERSION\]"),
        ("## [Unreleased]", "## [Next] - 2026-01-31", r"has to begin with the heading `## \[Unreleased\]`"),
    ],
)
def test_another_form_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ReleaseError, match=message):
        changelog.check(TEXT.replace(old, new))


def test_a_release_without_changes_or_again_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"has version 0\.1\.0 already"):
        changelog.cut(TEXT, "0.1.0", "2026-02-03", None)
    released = changelog.cut(TEXT, "0.2.0", "2026-02-03", None)
    with pytest.raises(ReleaseError, match=r"no change that it is not released yet"):
        changelog.cut(released, "0.3.0", "2026-02-03", None)
