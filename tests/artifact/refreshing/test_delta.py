"""A delta contains an artifact without the parts shared with its base, and applies only to that base."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.errors import ArtifactError
from tests.support.artifacts import change_manifest
from tests.support.refreshing import Made, assert_same_bits, changed, full, nothing, refresh, runs, scattered


@pytest.fixture
def delta(made: Made, tmp_path: Path) -> Path:
    refresh(changed(made.model, scattered), made.path, tmp_path / "second")
    return tmp_path / "second.delta"


@pytest.mark.each_value
@pytest.mark.parametrize("pages", ["mapped", "prefault", "huge"])
@pytest.mark.parametrize("checksums", ["auto", "always", "never"])
def test_with_its_base_it_is_the_artifact(made: Made, delta: Path, pages: str, checksums: str) -> None:
    shutil.rmtree(delta.with_suffix(""))
    found = load_artifact(delta, checksums, pages, bases=[made.path])  # type: ignore[arg-type]
    assert not list(delta.glob("table-*-int8.safetensors"))
    assert found.manifest.accepted == found.certificate.accepted
    first = made.artifact().model.tables
    assert not first.table(0).equal(found.model.tables.table(0))
    assert first.table(0)[1:97].equal(found.model.tables.table(0)[1:97])


def test_the_files_of_both_together_are_the_artifact(made: Made, delta: Path, tmp_path: Path) -> None:
    together = tmp_path / "together"
    shutil.copytree(made.path, together)
    shutil.copytree(delta, together, dirs_exist_ok=True)
    found = load_artifact(together, checksums="always")
    assert_same_bits(found.model, load_artifact(tmp_path / "second").model)


def test_alone_it_says_what_it_needs(delta: Path) -> None:
    with pytest.raises(ArtifactError, match="pass that artifact to load_artifact as one of its bases"):
        load_artifact(delta)


def test_for_another_base_it_is_refused(made: Made, delta: Path, tmp_path: Path) -> None:
    other = full(changed(made.model, runs), tmp_path / "other").path
    with pytest.raises(ArtifactError, match=r"is a delta, but not of .*other: there is no table-00"):
        load_artifact(delta, bases=[other])


def test_a_delta_of_a_refreshed_artifact_has_its_own_patches_only(made: Made, delta: Path, tmp_path: Path) -> None:
    second = changed(made.model, scattered)
    third = changed(second, runs)
    refresh(third, tmp_path / "second", tmp_path / "third")
    names = sorted(path.name for path in (tmp_path / "third.delta").glob("*.patch-*"))
    assert names == ["table-00-int8.patch-2.safetensors", "table-02-int8.patch-2.safetensors"]
    found = load_artifact(tmp_path / "third.delta", bases=[tmp_path / "second"])
    assert_same_bits(found.model, load_artifact(tmp_path / "third").model)
    with pytest.raises(ArtifactError, match=r"is a delta, but not of .*first: there is no table-00"):
        load_artifact(tmp_path / "third.delta", bases=[made.path])


def test_a_damaged_artifact_among_the_bases_is_passed_over(
    made: Made, delta: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_text("{}")
    found = load_artifact(delta, bases=[tmp_path / "damaged", made.path])
    assert_same_bits(found.model, load_artifact(tmp_path / "second").model)
    assert "damaged/manifest.json: format None" in caplog.text


def test_without_hard_links_files_are_copied(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    refresh(changed(made.model, scattered), made.path, tmp_path / "second")
    name = "table-00-int8.safetensors"
    assert not (tmp_path / "second" / name).samefile(made.path / name)
    found = load_artifact(tmp_path / "second.delta", bases=[made.path])
    assert_same_bits(found.model, load_artifact(tmp_path / "second", checksums="always").model)


def test_a_chain_of_deltas_needs_all_that_came_before(made: Made, delta: Path, tmp_path: Path) -> None:
    third = changed(changed(made.model, scattered), runs)
    refresh(third, tmp_path / "second", tmp_path / "third")
    expected = load_artifact(tmp_path / "third").model
    shutil.rmtree(tmp_path / "second")
    found = load_artifact(tmp_path / "third.delta", bases=[delta, made.path])
    assert_same_bits(found.model, expected)
    with pytest.raises(ArtifactError, match=r"is a delta, but not of .*second\.delta: there is no table-00"):
        load_artifact(tmp_path / "third.delta", bases=[delta])


def test_without_changes_it_has_no_rows(made: Made, tmp_path: Path) -> None:
    refresh(changed(made.model, nothing), made.path, tmp_path / "second")
    assert not list((tmp_path / "second.delta").glob("*.patch-*"))


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        ({"top_mlp.0": ["report.html"]}, "'top_mlp.0' is not a table of the model"),
        ({"tables.9": ["report.html"]}, "'tables.9' is not a table of the model"),
        ({"tables.0": ["../first/report.html"]}, r"has no checksum of \.\./first/report\.html"),
        ({"tables.0": ["report.html"]}, r"report\.html: cannot be read"),
    ],
)
def test_a_manifest_with_wrong_patches_is_refused(
    made: Made, tmp_path: Path, patches: dict[str, list[str]], message: str
) -> None:
    folder = Path(shutil.copytree(made.path, tmp_path / "copy"))
    change_manifest(folder, lambda manifest: manifest.patches.update(patches))
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder)


def test_a_folder_of_the_user_is_not_replaced(made: Made, tmp_path: Path) -> None:
    from dlrm_pl.errors import OutputError

    (tmp_path / "second.delta").mkdir()
    (tmp_path / "second.delta" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        refresh(changed(made.model, runs), made.path, tmp_path / "second")
    assert not (tmp_path / "second").exists()
