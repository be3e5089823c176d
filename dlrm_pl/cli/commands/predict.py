"""Score rows with an artifact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from dlrm_pl.cli.commands.progress import rows_bar
from dlrm_pl.cli.output import Report
from dlrm_pl.errors import ConfigurationError


def predict_with_artifact(
    artifact: str,
    data: str | None = None,
    output: str = "predictions.csv",
    raw: str | None = None,
    split: Literal["train", "val", "test"] | None = None,
    batch_size: int = 2048,
    pages: Literal["mapped", "prefault", "huge"] = "mapped",
    truncate_lists: bool = False,
    keep: str | None = None,
    force: bool = False,
    overwrite: bool = False,
) -> Report:
    """Score rows with an int8 artifact, without the float model.

    Args:
        artifact: the artifact folder.
        data: dataset folder with the rows to score; with ``raw``, the dataset folder whose vocabulary is used. With
            ``raw``, an artifact made by `quantize --with_vocabulary` does not need one.
        output: .csv, .npy or .parquet file, or a pipe, for one click probability per row, in order; `-` for standard
            output.
        raw: rows to score instead of a split: a raw log (tab-separated, plain or .gz; `-` for standard input), or CSV,
            Parquet or Arrow files with the columns of the dataset. Labels may be missing, as in Kaggle's test file.
        split: part of the dataset to score; by default test.
        batch_size: rows per batch.
        pages: how tables are kept in memory: mapped from the file, read ahead, or copied to 2 MiB pages.
        truncate_lists: cut lists in ``raw`` that are longer than their column allows, instead of refusing them.
        keep: names of columns, separated by commas, to write next to the probability, unchanged; a CSV, Parquet or
            Arrow file may have more columns than the model reads. A split of a dataset has ids in place of categories.
        force: score rows of a dataset other than the one that the artifact was made for, if none of its tables is
            larger.
        overwrite: replace an existing file named ``output``.
    """
    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.data.encoding.unseen import unseen_lines
    from dlrm_pl.data.loading.raw_dataset import RawLogDataset
    from dlrm_pl.data.sources.kept import column_names
    from dlrm_pl.files.destinations import STDIN, kind_of
    from dlrm_pl.serving.output import check_predictions_path, output_path, write_predictions
    from dlrm_pl.serving.predictor import Predictor
    from dlrm_pl.serving.rows import batches_to_predict

    if raw is not None and split is not None:
        raise ConfigurationError(f"split={split} is a part of a dataset, but --raw scores other rows. Leave one out.")
    path, names = output_path(output), column_names(keep)
    check_predictions_path(path, overwrite, keeps=bool(names), rows=raw)
    loaded = load_artifact(artifact, pages=pages)
    rows = batches_to_predict(
        loaded,
        None if data is None else Path(data),
        None if raw is None else STDIN if raw == "-" else Path(raw),
        split or "test",
        batch_size,
        force=force,
        truncate_lists=truncate_lists,
        keep=names,
    )
    with rows_bar("predict", rows.num_rows) as advance:
        written = write_predictions(path, Predictor(loaded).stream(rows.batches, advance), rows.kept)
    dataset = rows.batches
    lines = [f"{output}: {written:,} click probabilities"]
    unseen, cut_lists = (int(dataset.unseen.sum()), dataset.cut_lists) if isinstance(dataset, RawLogDataset) else (0, 0)
    if cut_lists:
        were = "list was" if cut_lists == 1 else "lists were"
        lines.append(f"{cut_lists:,} {were} longer than the column allows and truncated")
    if isinstance(dataset, RawLogDataset):
        lines += unseen_lines(dataset.encoder, dataset.unseen)

    def show() -> None:
        # A pipe, which may be this program's standard output, receives only the probabilities.
        print("\n".join(lines), file=sys.stderr if kind_of(path) == "sink" else sys.stdout)

    return Report({"output": output, "rows": written, "unseen_values": unseen, "cut_lists": cut_lists}, show)
