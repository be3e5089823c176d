"""Describe a dataset: a folder of this package or of upstream, or days in TorchRec's format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from dlrm_pl.columns.description import column_lines
from dlrm_pl.inspection.description import Description, Line
from dlrm_pl.inspection.lines import how_to_check_the_rest

Progress = Callable[[int], None]
"""Called with the bytes that were read since the last call."""

OpenProgress = Callable[[int], AbstractContextManager[Progress]]
"""Shows the progress of reading a number of bytes."""


def describe_dataset(path: Path, full: bool) -> Description:
    """Describe a dataset folder of this package or of upstream."""
    from dlrm_pl.data.formats.dataset_folder import DatasetFolder
    from dlrm_pl.data.preprocessing.statistics.report import report_lines, warn_of_classes

    folder = DatasetFolder.open(path)
    sizes = folder.table_sizes
    lines: list[Line] = [("fingerprint", folder.fingerprint)]
    modulus = {"max_ind_range": folder.max_ind_range} if folder.columns.has_hex_vocabulary else {}
    lines += [(name, str(number)) for name, number in modulus.items()]
    lines += column_lines(folder.columns)
    for name, split in folder.splits.items():
        clicks = (
            "" if split.positives is None else f", {split.positives:,} clicks ({split.positives / split.records:.3%})"
        )
        best = (folder.best_possible_auroc or {}).get(name)
        ceiling = "" if best is None else f", best possible AUROC {best:.6f}"
        lines.append((name, f"{split.records:,} rows{clicks}{ceiling}"))
    lines.append(("tables", f"{len(sizes)}, {sum(sizes):,} rows: {' '.join(f'{size:,}' for size in sizes)}"))
    if folder.report:  # Only `preprocess` writes one.
        report: list[Line] = [_labelled(line) for line in report_lines(folder.report)]
    else:
        counts = [
            (name, split.records, split.positives)
            for name, split in folder.splits.items()
            if split.positives is not None
        ]
        report = [f"warning: {warning}" for warning in warn_of_classes(counts)]
    checked = folder.verify_checksums() if full else folder.check_samples()
    data = {
        "fingerprint": folder.fingerprint,
        **modulus,
        "columns": folder.columns.statement(),
        "splits": {
            name: {
                "rows": split.records,
                "clicks": split.positives,
                "best_possible_auroc": (folder.best_possible_auroc or {}).get(name),
            }
            for name, split in folder.splits.items()
        },
        "table_sizes": list(sizes),
        "report": folder.report,
    }
    return Description(
        "dataset", path, data, (*lines, *report, ("checked", f"{checked}{how_to_check_the_rest(full)}")), checked
    )


def describe_days(path: Path, full: bool, progress: OpenProgress | None) -> Description:
    """Describe a folder of days in TorchRec's format; with ``progress`` compare them with the published checksums."""
    from dlrm_pl.columns.column import MOST_ROWS
    from dlrm_pl.data.formats.dataset_folder import DatasetFolder
    from dlrm_pl.data.formats.torchrec.folder import DaysFolder
    from dlrm_pl.data.formats.torchrec.overview import overview
    from dlrm_pl.data.formats.torchrec.published import PublishedDays, total_bytes
    from dlrm_pl.data.formats.torchrec.stated import StatedTables
    from dlrm_pl.data.preprocessing.statistics.report import report_lines

    days = DaysFolder.open(path)
    found, checked = overview(days), ["sizes, types and shapes of all files"]
    if full:
        # If the row counts of the tables are unknown, the ids in bags may be any that are not negative.
        unknown = StatedTables((MOST_ROWS,) * len(days.widths)) if days.description is None else None
        checked.append(DatasetFolder.open(path, stated=unknown).verify_checksums())
    if progress is not None:
        with progress(total_bytes(days)) as advance:
            checked.append(PublishedDays.mlperf().check(days, advance))
    report = {} if days.description is None else days.description.report
    lines: list[Line] = [*found.lines, *(_labelled(line) for line in (report_lines(report) if report else ()))]
    lines.append(("checked", f"{', '.join(checked)}{how_to_check_the_rest(full)}"))
    return Description("dataset", path, found.data | {"report": report}, tuple(lines), ", ".join(checked))


def _labelled(line: str) -> Line:
    """Split a line of a report into its label and what stands behind it, if it has a label."""
    label, _, text = line.partition("  ")
    return (label, text.strip()) if text else line
