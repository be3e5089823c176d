"""`make release` changes every file that states the version in one commit, or changes nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.release.checkout import ROOT, clean_commit
from deploy.release.cut import _order
from deploy.release.problem import ReleaseError
from deploy.release.version import PLACES, current, stated

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

FILES = [*PLACES, "CHANGELOG.md"]
CHANGE = "## [Unreleased]\n\n### Fixed\n\n- A change of the test.\n"


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the files that a release touches, and the tools, as they are in this checkout."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.com")
    folder = tmp_path / "clone"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    tools = Path("deploy", "release")
    shutil.copytree(ROOT / tools, folder / tools, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("__pycache__/\n")
    log = folder / "CHANGELOG.md"
    log.write_text(re.sub(r"## \[Unreleased\]\n.*?(?=^## \[)", f"{CHANGE}\n", log.read_text(), flags=re.S | re.M))
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


def cut(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.release.cut", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


def test_every_file_states_the_same_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", current(ROOT))
    # Documents published with a release name no other release.
    for path in filter(Path.is_file, (ROOT / "deploy").iterdir()):
        assert set(re.findall(r"dlrm-pl-serve:([\w.]+)", path.read_text())) <= {current(ROOT)}


def test_a_release_is_one_commit_without_a_tag(clone: Path) -> None:
    before = {name: (clone / name).read_text() for name in FILES}
    ended = cut(clone, "77.8.9", "--date", "2031-02-03")
    assert ended.returncode == 0, ended.stderr
    assert current(clone) == "77.8.9"
    assert stated(clone) == {name: {"77.8.9"} for name in PLACES}
    assert "\ndate-released: 2031-02-03\n" in (clone / "CITATION.cff").read_text()
    assert CHANGE.replace("]\n", "]\n\n## [77.8.9] - 2031-02-03\n", 1) in (clone / "CHANGELOG.md").read_text()
    assert git(clone, "log", "--format=%s").splitlines() == ["release: version 77.8.9", "all"]
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "tag") == ""
    assert git(clone, "show", "--name-only", "--format=").split() == sorted(FILES)
    # Only version and date have changed.
    for name in PLACES:
        old = re.sub(r"date-released: .*", "date-released: 2031-02-03", before[name])
        version = re.escape(current(ROOT))
        assert (clone / name).read_text() == re.sub(rf'(version: |version = "|serve:){version}', r"\g<1>77.8.9", old)
    assert "git tag --annotate v77.8.9" in ended.stdout


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.0.1", r"0\.0\.1 is not higher than \d+\.\d+\.\d+, the current version"),
        ("77.8.09", r"'77\.8\.09' is not a version, which is written as 1\.2\.3"),
        ("", "'' is not a version"),
    ],
)
def test_a_wrong_version_changes_nothing(clone: Path, version: str, message: str) -> None:
    ended = cut(clone, version)
    assert ended.returncode == 1
    assert re.search(message, ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
    assert git(clone, "status", "--porcelain") == ""


def test_versions_before_a_release_are_lower_than_it() -> None:
    versions = ["1.2.3a1", "1.2.3b1", "1.2.3rc1", "1.2.3rc2", "1.2.3", "1.2.10", "1.10.0", "10.0.0a1"]
    assert sorted(reversed(versions), key=_order) == versions


def test_a_checkout_that_is_not_ready_is_refused(clone: Path) -> None:
    (clone / "new").touch()
    assert "Commit or remove these changes first" in cut(clone, "77.8.9").stderr
    (clone / "new").unlink()
    git(clone, "switch", "--quiet", "--create", "other")
    assert "releases are made from the branch main, and other is checked out" in cut(clone, "77.8.9").stderr
    git(clone, "switch", "--quiet", "main")
    git(clone, "tag", "v77.8.9")
    assert "there is a tag v77.8.9 already" in cut(clone, "77.8.9").stderr
    (clone / "CITATION.cff").write_text((clone / "CITATION.cff").read_text().replace("\nversion: ", "\nversion: 5."))
    git(clone, "commit", "--quiet", "--all", "--message", "two versions")
    assert "these files have to state the same version" in cut(clone, "77.9.0").stderr
    assert git(clone, "log", "--format=%s").splitlines() == ["two versions", "all"]


def test_packages_are_not_made_of_what_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"is not a checkout of git.*clone the repository"):
        clean_commit(tmp_path)
