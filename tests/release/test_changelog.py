"""CHANGELOG.md has the form of Keep a Changelog, and gets a version and links when a release is cut."""

from __future__ import annotations

import pytest

from release import changelog
from release.problem import ReleaseError

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
        (
            "### Fixed",
            "### Bugs",
            r"the headings in Unreleased are Added, Bugs; they have to be some of Added, Changed",
        ),
        ("### Fixed", "### Added", "each once and in this order"),
        ("### Added\n\n#### Training\n\n", "", r"a change in Unreleased stands under none of Added"),
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
