"""Where a plot is written, and what is refused before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlrm_pl.errors import ConfigurationError, DLRMError, OutputError
from dlrm_pl.plots.parts import Portrait, Section
from dlrm_pl.plots.write import check_plot_path, default_path, write_portrait


@pytest.mark.parametrize(
    ("path", "plot"),
    [("data/clicks", "data/clicks.html"), ("data/clicks/", "data/clicks.html"), ("model.ckpt", "model.ckpt.html")],
)
def test_page_goes_beside_what_it_shows(path: str, plot: str) -> None:
    assert default_path(Path(path)) == Path(plot)


def test_page_of_the_current_folder_goes_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clicks" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clicks")
    assert default_path(Path(".")) == tmp_path / "clicks.html"
    monkeypatch.chdir(tmp_path / "clicks" / "inner")
    assert default_path(Path("..")) == tmp_path / "clicks.html"


@pytest.mark.parametrize(
    ("plot", "error", "message"),
    [
        ("a.pdf", ConfigurationError, r"a\.pdf: a plot is a page \(FILE\.html\) or a picture.*'\.pdf'"),
        ("a", ConfigurationError, "ends in ''"),
        ("data/a.png", ConfigurationError, "is inside"),
        ("link/a.png", ConfigurationError, "is inside"),
        ("folder.html", OutputError, "is a folder"),
        ("there.html", OutputError, r"there\.html: already exists\. Give --overwrite"),
        ("pipe.html", OutputError, "is a pipe"),
    ],
)
def test_bad_paths_are_refused(tmp_path: Path, plot: str, error: type[DLRMError], message: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "there.html").write_text("mine")
    os.mkfifo(tmp_path / "pipe.html")
    with pytest.raises(error, match=message):
        check_plot_path(tmp_path / plot, tmp_path / "data", overwrite=False)


def test_good_paths_are_not(tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text("mine")
    check_plot_path(tmp_path / "there.html", tmp_path / "data", overwrite=True)
    check_plot_path(tmp_path / "new" / "a.png", tmp_path / "data", overwrite=False)


def test_a_page_without_figures_is_written(tmp_path: Path) -> None:
    write_portrait(Portrait("Title & more", "One sentence.", [Section("Words", [["a < b"]])]), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert "<h1>Title &amp; more</h1>" in text
    assert "a &lt; b" in text
