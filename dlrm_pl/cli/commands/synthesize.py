"""Make synthetic click logs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dlrm_pl.cli.commands.progress import rows_bar
from dlrm_pl.cli.output import Report, plain


def synthesize(
    output: str,
    rows: int = 1_000_000,
    days: int = 4,
    seed: int = 2024,
    label_rate: float = 0.033,
    best_auroc: float = 0.82,
    max_table_size: int | None = None,
    format: Literal["dataset", "raw", "csv", "parquet"] = "dataset",
    columns: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Make synthetic click logs with a known best possible AUROC.

    Args:
        output: output folder; the same options write the same bytes again.
        rows: total number of rows.
        days: number of days; the last one becomes test and val, one half each, and the others are for training.
        seed: random seed; the same seed gives the same bytes.
        label_rate: share of clicks; 0.033 as in the Terabyte logs.
        best_auroc: AUROC of the true click probabilities, which a model can exceed only by chance.
        max_table_size: maximum number of categories in a table; null: as many as in Criteo's logs.
        format: a dataset folder (``dataset``), or files by day for ``preprocess`` to read: raw logs (``raw``), or files
            with named columns (``csv``, ``parquet``).
        columns: YAML file that states the columns of the rows, or the name of an included one, such as ``avazu``; null:
            the columns of Criteo's logs. ``dlrm-pl configs copy`` writes an example, ``columns/example.yaml``.
        overwrite: replace the dataset or the raw logs in ``output`` if they were made with other options.
    """
    from dlrm_pl.columns.columns import Columns
    from dlrm_pl.data.synthetic.synthesize import synthesize as write

    with rows_bar("synthesize", rows) as advance:
        report = write(
            Path(output),
            rows=rows,
            days=days,
            seed=seed,
            label_rate=label_rate,
            best_auroc=best_auroc,
            max_table_size=max_table_size,
            format=format,
            columns=None if columns is None else Columns.read(columns),
            overwrite=overwrite,
            progress=advance,
        )
    return Report(plain(report), str(report))
