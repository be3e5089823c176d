"""Raw logs -> dataset folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from dlrm_pl.cli.commands.progress import stages_bar
from dlrm_pl.cli.output import Report
from dlrm_pl.program import program_name


def preprocess(
    raw: str,
    output: str,
    columns: str | None = None,
    flavor: Literal["upstream", "torchrec"] = "upstream",
    layout: Literal["terabyte", "kaggle"] = "terabyte",
    split_by: str | None = None,
    days: int | None = None,
    max_ind_range: int = 40_000_000,
    subsample_rate: float = 0.0,
    randomize: Literal["total", "day", "none"] | None = None,
    seed: int | None = None,
    vocabulary: Literal["reference", "train_only"] = "reference",
    min_count: int = 1,
    vocabulary_from: str | None = None,
    truncate_lists: bool = False,
    bad_rows: str = "stop",
    threads: int | None = None,
    memory: str = "2GiB",
    overwrite: bool = False,
    cluster: str | None = None,
    work: str | None = None,
) -> Report:
    """Turn raw click logs into a dataset folder.

    The same command continues a run that was killed. The result depends only on the logs and the options, not on
    threads, memory or interruptions.

    Args:
        raw: ``terabyte``: the common beginning of the day files, ``PATH/day`` for ``day_0``, ``day_1``, ... (plain
            or .gz); ``kaggle``: one file, which is cut into days; a CSV, TSV, Parquet or Arrow file with names of
            columns, or a folder of such files; or upstream's preprocessed files: the beginning of
            ``day_N_reordered.npz``, a ``*_processed.npz``, or a folder of .bin files, which are linked. With
            ``--cluster``, the beginning of the day files may be a URL that fsspec reads, ``s3://BUCKET/PATH/day``.
        output: dataset folder to make. A complete one that the same logs and options made is kept.
        columns: YAML file that states the columns of the logs, or the name of one that comes with the program, such as
            avazu; by default those of the dataset given as ``vocabulary_from``, or else Criteo's.
        flavor: ``upstream``: a dataset folder, with ids as facebookresearch/dlrm gives them; ``torchrec``: NumPy files
            of days with the bytes of TorchRec's three scripts, for MLPerf's DLRM-DCNv2: ids from 2 over all days, no
            cap, negative numbers, its logarithm, and all days but the last shuffled.
        layout: how the raw logs are laid out.
        split_by: how rows of files with names of columns are divided into days: ``files``: each file is a day (default
            for several files); ``rows``: equal parts (default for one file); the name of a column: each value is a
            day; ``NAME[:6]``: the first 6 characters of each value. Of timestamps the date counts.
        days: number of days; by default 7 for ``kaggle`` and for equal parts, and else all that exist.
        max_ind_range: categories are taken modulo this number; 0 or less: as they are.
        subsample_rate: share of non-clicks to drop, in all days; 0.875 as in upstream's 10M model.
        randomize: order of the training rows: ``total``: shuffled over all days (default); ``day``: shuffled within
            each day; ``none``: as in the logs. Upstream's preprocessed files keep their order.
        seed: seed of shuffling and sub-sampling; by default 123, and 0 with ``torchrec``, as its script has.
        vocabulary: ``reference``: ids for the categories of all days, including the test day; ``train_only``: ids for
            those of the training days, and row 0 of each table for all others.
        min_count: with ``train_only``, categories with fewer training rows share row 0 as well; with ``torchrec``,
            those with fewer rows share id 1 (its frequency_threshold).
        vocabulary_from: dataset folder whose ids are used, to score new logs with a model trained on it; only its
            dictionaries are needed. Then one day is enough, which makes test and val, and no train.
        truncate_lists: cut lists that are longer than ``at_most`` of their column, and count them; else their rows are
            bad.
        bad_rows: ``stop`` at the first row that cannot be read, or ``skip:0.001``: leave unreadable rows out, write
            them to rejected.tsv, and stop when their share is larger.
        threads: number of threads; by default one for each processor.
        memory: memory budget beyond the vocabulary, for example 512MiB.
        overwrite: replace the dataset in ``output``, if other logs or options made it.
        cluster: address of a Ray cluster that does the work (HOST:PORT), ``auto`` for the one that this machine
            belongs to, or ``local`` for one of this machine alone. All machines have to share the file system of the
            logs and the output. The result has the same bytes. ``--threads`` are then those of each task.
        work: folder where the dataset is made if ``output`` is a URL, to which it is copied when it is complete; on a
            cluster, all machines share it. The dataset stays there as well.
    """
    import dataclasses

    from dlrm_pl.columns.columns import Columns
    from dlrm_pl.data.preprocessing.options import PreprocessOptions, parse_bad_rows, parse_memory
    from dlrm_pl.data.preprocessing.run import preprocess as convert

    options = PreprocessOptions(
        columns=None if columns is None else Columns.read(columns),
        flavor=flavor,
        layout=layout,
        split_by=split_by,
        days=days,
        max_ind_range=max_ind_range,
        subsample_rate=subsample_rate,
        randomize=randomize,
        seed=seed if seed is not None else 0 if flavor == "torchrec" else 123,
        vocabulary=vocabulary,
        min_count=min_count,
        vocabulary_from=None if vocabulary_from is None else Path(vocabulary_from),
        truncate_lists=truncate_lists,
        bad_rows=parse_bad_rows(bad_rows),
        memory_bytes=parse_memory(memory),
    )
    if threads is not None:
        options = dataclasses.replace(options, workers=threads)
    with stages_bar() as advance:
        report = convert(raw, output, options, overwrite=overwrite, progress=advance, cluster=cluster, work=work)
    folder = report.folder
    splits = {name: {"rows": split.records, "clicks": split.positives} for name, split in folder.splits.items()}
    data = {
        "path": folder.path,
        "fingerprint": folder.fingerprint,
        "splits": splits,
        "rows_by_day": report.rows_by_day,
        "table_sizes": folder.table_sizes,
        "seconds": report.seconds,
        "resumed": report.resumed,
        "report": folder.report,
    }
    draw = shlex.join([*program_name().split(), "inspect", str(folder.path), "--plot"])
    return Report(data, f"{report}\nTo draw this report: {draw}")
