"""Describe a folder or a file."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.commands.progress import bytes_bar
from dlrm_pl.cli.output import Report


def inspect(
    path: str, full: bool = False, checksums: bool = False, plot: bool | str = False, overwrite: bool = False
) -> Report:
    """Describe a dataset folder, a checkpoint or an artifact on one screen, and draw it with --plot.

    The last line tells what was compared with its checksum, and what was not.

    Args:
        path: a dataset folder, a checkpoint or an artifact folder.
        full: compare every byte of every file with its checksum; exit status 2 when one differs.
        checksums: of days in TorchRec's format with MLPerf's rows, compare all files with the published MD5 sums, which
            takes hours for all of them; exit status 2 names the first one that differs.
        plot: also draw it: as FILE.html, a page with figures, tables and explanations, or as FILE.png, the figures
            alone. Put this option after PATH; without a name it writes PATH.html beside PATH. A dataset gives click
            rate, table sizes, id skew (in a sample of rows) and missing values; an artifact gives bytes, dtypes and
            sensitivities; a checkpoint gives the curves of its training.
        overwrite: replace an earlier file of the plot.
    """
    from functools import partial

    from dlrm_pl.inspection import inspect_path

    target = None
    if plot is not False:
        from dlrm_pl.plots.write import check_plot_path, default_path

        target = default_path(Path(path)) if plot is True else Path(plot)
        check_plot_path(target, Path(path), overwrite)
    description = inspect_path(Path(path), full, checksums=checksums, progress=partial(bytes_bar, "md5"))
    if target is None:
        return Report(description.to_dict() | {"plot": None}, str(description))
    from dlrm_pl.plots.portrait import portrait_of
    from dlrm_pl.plots.write import write_portrait

    write_portrait(portrait_of(description), target)
    return Report(description.to_dict() | {"plot": target}, f"{description}\nplot: {target}")
