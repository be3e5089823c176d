"""Describe a dataset folder, a checkpoint or an artifact."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.commands.progress import bytes_bar
from dlrm_pl.cli.output import Report


def inspect(
    path: str, full: bool = False, checksums: bool = False, plot: bool | str = False, overwrite: bool = False
) -> Report:
    """Describe a dataset folder, a checkpoint or an artifact on one screen, and draw it with --plot.

    The last line states what was compared with its checksum, and what was not.

    Args:
        path: a dataset folder, a checkpoint or an artifact folder.
        full: compare every byte of every file with its checksum; the exit status is 2 if one differs.
        checksums: for days in TorchRec's format with MLPerf's rows, compare all files with the published MD5 sums,
            which takes hours for the full dataset; if a file differs, the first one is named, and the exit status is 2.
        plot: also draw it: as FILE.html, a page with figures, tables and explanations, or as FILE.png, only the
            figures. Put this option after PATH; without a name it writes PATH.html next to PATH. The plot of a dataset
            shows click rate, table sizes, id skew (in a sample of rows) and missing values; that of an artifact shows
            bytes, dtypes and sensitivities; that of a checkpoint shows its training curves.
        overwrite: replace an existing plot file.
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
