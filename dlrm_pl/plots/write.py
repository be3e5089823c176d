"""Write a plot of a dataset, an artifact or a checkpoint, as HTML or as PNG."""

from __future__ import annotations

import os
from pathlib import Path

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.files.destinations import check_file, resolved
from dlrm_pl.plots.parts import Portrait

SUFFIXES = (".html", ".png")


def default_path(path: Path) -> Path:
    """Return the default path for the plot of a folder or file: a page next to it, with the same name."""
    absolute = Path(os.path.abspath(path))
    return (path.parent if path.name not in ("", "..") else absolute.parent) / f"{absolute.name}.html"


def check_plot_path(plot: Path, of: Path, overwrite: bool) -> None:
    """Check, before any work, that a plot can be written.

    Args:
        plot: file to write.
        of: folder or file that the plot will show.
        overwrite: whether an existing file may be overwritten.

    Raises:
        ConfigurationError: the name ends in neither .html nor .png, or the file would lie inside the folder that it
            shows.
        OutputError: the path is a folder or a device, or it exists already.
    """
    if plot.suffix not in SUFFIXES:
        raise ConfigurationError(
            f"--plot {plot}: a plot is a page (FILE.html) or a picture (FILE.png), but the name ends in "
            f"{plot.suffix!r}."
        )
    if resolved(of).is_dir() and resolved(of) in resolved(plot).parents:
        raise ConfigurationError(
            f"--plot {plot}: is inside {of}, which would then contain a file that does not belong to it. Choose "
            "another folder."
        )
    check_file(plot, overwrite)


def write_portrait(portrait: Portrait, plot: Path) -> None:
    """Write a page with figures, tables and explanations; or only its figures, as a picture.

    Raises:
        OutputError: the file cannot be written.
    """
    if plot.suffix == ".png":
        from dlrm_pl.pages.figures.raster import write_png  # Imported here: matplotlib takes half a second.

        write_png(plot, portrait.figures, title=portrait.title, note=portrait.lead, columns=2)
        return
    from dlrm_pl.pages.page import render_page

    page = render_page("dlrm_pl.plots", "portrait.html.jinja", terms=portrait.terms, portrait=portrait)
    with atomic_file(plot) as handle:
        handle.write(page)
