"""Turn raw logs into a dataset folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from dlrm_pl.cli.commands.progress import stages_bar
from dlrm_pl.cli.output import Report
from dlrm_pl.program import is_quiet, program_name


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
        raw: ``terabyte``: the common beginning of the day files, ``PATH/day`` for ``day_0``, ``day_1``, ... (plain or
            .gz); ``kaggle``: one file, which is cut into days; a CSV, TSV, Parquet or Arrow file with named columns, or
            a folder of such files; or upstream's preprocessed files: the common beginning of ``day_N_reordered.npz``, a
            ``*_processed.npz``, or a folder of .bin files, which are linked. With ``--cluster``, the beginning of the
            day files may be a URL that fsspec can read, such as ``s3://BUCKET/PATH/day``.
        output: dataset folder to make. A complete one that was made from the same logs with the same options is kept.
        columns: YAML file that states the columns of the logs, or the name of an included one, such as avazu; by
            default the columns of the dataset given as ``vocabulary_from``, or else Criteo's.
        flavor: ``upstream``: a dataset folder with ids as facebookresearch/dlrm assigns them; ``torchrec``: NumPy files
            for each day, byte for byte those of TorchRec's three scripts, for MLPerf's DLRM-DCNv2: ids from 2 up over
            all days without a cap, negative numbers, TorchRec's logarithm, and all days but the last shuffled.
        layout: how the raw logs are laid out.
        split_by: how the rows of files with named columns are divided into days: ``files``: each file is a day (default
            for several files); ``rows``: equal parts (default for one file); the name of a column: each value is a day;
            ``NAME[:6]``: the first 6 characters of each value are the day. For timestamps, the date counts.
        days: number of days; by default 7 for ``kaggle`` and for equal parts, otherwise all that exist.
        max_ind_range: categories are taken modulo this number; 0 or less: unchanged.
        subsample_rate: share of non-clicks to drop, in all days; 0.875 as in upstream's 10M model.
        randomize: order of the training rows: ``total``: shuffled over all days (default); ``day``: shuffled within
            each day; ``none``: as in the logs. Upstream's preprocessed files keep their order.
        seed: seed for shuffling and sub-sampling; by default 123, and 0 with ``torchrec``, as in its script.
        vocabulary: ``reference``: ids for the categories of all days, including the test day; ``train_only``: ids for
            the categories of the training days, and row 0 of each table for all others.
        min_count: with ``train_only``, categories with fewer training rows than this also share row 0; with
            ``torchrec``, those with fewer rows share id 1 (its frequency_threshold).
        vocabulary_from: dataset folder whose ids are used, to score new logs with a model trained on it; only its
            dictionaries are needed. A single day is then enough; it becomes test and val, without train.
        truncate_lists: truncate and count lists that are longer than their column's ``at_most``; otherwise their rows
            are bad.
        bad_rows: ``stop`` at the first row that cannot be read, or ``skip:0.001``: leave out unreadable rows, write
            them to rejected.tsv, and stop if their share is larger than this.
        threads: number of threads; by default one for each processor.
        memory: memory budget beyond the vocabulary, for example 512MiB.
        overwrite: replace the dataset in ``output`` if it was made from other logs or with other options.
        cluster: address of a Ray cluster that does the work (HOST:PORT), ``auto`` for the cluster that this machine
            belongs to, or ``local`` for one on this machine only. All machines must share the file system of the logs
            and the output. The result has the same bytes. ``--threads`` then applies to each task.
        work: folder where the dataset is made if ``output`` is a URL, to which it is copied once complete; on a
            cluster, all machines must share this folder. The dataset also stays there.
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
    text = f"{report}"
    if not is_quiet():
        text += f"\nTo draw this report: {shlex.join([*program_name().split(), 'inspect', str(folder.path), '--plot'])}"
    return Report(data, text)
