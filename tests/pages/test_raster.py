"""Figures of pages as PNG have the same marks at the same positions, in the light colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.image import imread

from dlrm_pl.errors import OutputError
from dlrm_pl.pages.colours import LIGHT
from dlrm_pl.pages.figures import marks
from dlrm_pl.pages.figures.chart import WIDTH, Chart, drawing, figure
from dlrm_pl.pages.figures.raster import write_png
from dlrm_pl.pages.figures.scale import Scale

SCALE, MARGIN = 2.25, 12.0


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    return np.round(255 * imread(path)[:, :, :3]).astype(np.uint8)


def at(picture: npt.NDArray[np.uint8], x: float, y: float) -> str:
    """Return the colour at a position in units of the first figure."""
    red, green, blue = picture[int(SCALE * (MARGIN + y)), int(SCALE * (MARGIN + x))]
    return f"#{red:02x}{green:02x}{blue:02x}"


def test_marks_are_where_svg_has_them(tmp_path: Path) -> None:
    drawn = [
        marks.box(10, 20, 40, 30, "bad"),
        marks.marker(100, 35, "circle", "first", size=10),
        marks.marker(150, 35, "square", "second", size=10),
        marks.marker(200, 35, "diamond", "third", size=10),
        marks.line(10, 80, 300, 80, "good", width=6),
        marks.polyline([(10, 100), (110, 100), (110, 120)], "ink", width=6),
        marks.marker(250, 35, "cross", "fourth", size=10),
    ]
    write_png(tmp_path / "a.png", [drawing("shapes", [(drawn, 140.0)])])
    picture = pixels(tmp_path / "a.png")
    assert picture.shape[1] == int(SCALE * (WIDTH + 2 * MARGIN))
    assert picture.shape[0] == pytest.approx(SCALE * (142 + 2 * MARGIN), abs=1)
    assert at(picture, 12, 22) == at(picture, 48, 48) == LIGHT["bad"]
    assert at(picture, 8, 22) == at(picture, 52, 48) == at(picture, 12, 52) == LIGHT["paper"]
    assert at(picture, 100, 35) == at(picture, 108, 35) == LIGHT["first"]
    assert at(picture, 108, 43) == LIGHT["paper"]
    assert at(picture, 158, 43) == LIGHT["second"]
    assert at(picture, 200, 43) == LIGHT["third"]
    assert at(picture, 208, 43) == LIGHT["paper"]
    assert at(picture, 250, 35) == LIGHT["fourth"]
    assert at(picture, 250, 27) == LIGHT["paper"]
    assert at(picture, 150, 80) == LIGHT["good"]
    assert at(picture, 60, 100) == at(picture, 110, 115) == LIGHT["ink"]
    assert at(picture, 60, 115) == LIGHT["paper"]


def test_figures_go_to_the_shortest_column_below_the_title(tmp_path: Path) -> None:
    figures = [drawing("box", [([marks.box(0, 0, 380, height, colour)], height)]) for height, colour in
               ((200.0, "first"), (50.0, "second"), (50.0, "third"))]  # fmt: skip
    write_png(tmp_path / "a.png", figures, title="Three", note="one\ntwo", columns=2)
    picture = pixels(tmp_path / "a.png")
    assert picture.shape[1] == int(SCALE * (2 * WIDTH + 26 + 2 * MARGIN))
    places = {name: np.argwhere((picture == [int(LIGHT[name][n : n + 2], 16) for n in (1, 3, 5)]).all(axis=2))
              for name in ("first", "second", "third")}  # fmt: skip
    assert places["first"][:, 1].max() < places["second"][:, 1].min()
    assert places["second"][:, 1].min() == places["third"][:, 1].min()
    assert places["second"][:, 0].max() < places["third"][:, 0].min()
    assert places["first"][:, 0].min() == places["second"][:, 0].min() > SCALE * (MARGIN + 30)


def test_texts_of_any_kind_are_written_as_they_are(tmp_path: Path) -> None:
    hostile = "<b>&amp; $\\frac{1}{0}$ %s {x} \u0645\u0631\u062d\u0628\u0627"
    chart = Chart(Scale.linear([0, 1]), Scale.linear([0, 1]), x_label=hostile, y_label="price in $ and $")
    chart.point(0.5, 0.5, "first", name=hostile, words=hostile)
    write_png(tmp_path / "a.png", [figure(hostile, [chart])], title=hostile)
    plain = Chart(Scale.linear([0, 1]), Scale.linear([0, 1]))
    write_png(tmp_path / "b.png", [figure("", [plain])])
    dark = [int((pixels(tmp_path / name).sum(axis=2) < 200).sum()) for name in ("a.png", "b.png")]
    assert dark[0] > dark[1] + 500


def test_same_figures_make_the_same_file_and_bad_folders_none(tmp_path: Path) -> None:
    drawn = [drawing("text", [([marks.text(5, 20, "words")], 30.0)])]
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, drawn)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"c\.png: cannot be written"):
        write_png(tmp_path / "file" / "c.png", drawn)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "file"]
