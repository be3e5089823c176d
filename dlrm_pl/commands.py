"""The commands that need no Trainer: plain functions whose signatures and docstrings are the --help text.

torch is imported inside a function where it is needed, so that ``--help`` and wrong usage answer at once. There is no
block for TYPE_CHECKING either: jsonargparse runs it to resolve annotations, and so would import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal


def synthesize(
    output: str,
    rows: int = 1_000_000,
    days: int = 4,
    seed: int = 2024,
    label_rate: float = 0.033,
    best_auroc: float = 0.82,
    max_table_size: int | None = None,
    format: Literal["dataset", "raw"] = "dataset",
) -> None:
    """Make click logs with a known best possible AUROC.

    Args:
        output: folder to write; an earlier output of this command there is replaced.
        rows: over all days.
        days: the last one becomes test and val, one half each; the others train.
        seed: of everything; the same seed gives the same bytes.
        label_rate: share of clicks; 0.033 as in the Terabyte logs.
        best_auroc: AUROC of the true click probabilities, which no model can beat but by luck.
        max_table_size: cut every table after so many categories; null: as many as the real logs have.
        format: a dataset folder (``dataset``), or the raw day files that ``preprocess`` reads (``raw``).
    """
    from dlrm_pl.data.synthetic import synthesize as write

    with _progress("synthesize", rows) as advance:
        report = write(
            Path(output),
            rows=rows,
            days=days,
            seed=seed,
            label_rate=label_rate,
            best_auroc=best_auroc,
            max_table_size=max_table_size,
            format=format,
            progress=advance,
        )
    print(report)


def preprocess(
    raw: str,
    output: str,
    layout: Literal["terabyte", "kaggle"] = "terabyte",
    days: int | None = None,
    max_ind_range: int = 40_000_000,
    subsample_rate: float = 0.0,
    randomize: Literal["total", "day", "none"] | None = None,
    seed: int = 123,
    vocabulary: Literal["reference", "train_only"] = "reference",
    min_count: int = 1,
    vocabulary_from: str | None = None,
    bad_rows: str = "stop",
    workers: int | None = None,
    memory: str = "2GiB",
) -> None:
    """Turn raw click logs into a dataset folder.

    A run that was killed goes on where it was when the same command is given again. The result depends on the logs
    and the options alone, and not on workers, memory or interruptions.

    Args:
        raw: ``terabyte``: the common beginning of the day files, ``PATH/day`` for ``day_0``, ``day_1``, ... (plain
            or .gz); ``kaggle``: one file, which is cut into days. Or what the reference made of them: the beginning of
            ``day_N_reordered.npz``, a ``*_processed.npz``, or a folder with its .bin files, which are linked.
        output: the dataset folder to make.
        layout: how the raw logs are laid out.
        days: how many; ``kaggle``: 7 when not given; ``terabyte``: as many as there are.
        max_ind_range: categories are taken modulo this number; 0 or less: as they are.
        subsample_rate: share of non-clicks to drop, in all days; 0.875 for the reference's 10M model.
        randomize: order of the training rows: shuffled over all days, which is usual, inside each day, or as in the
            logs. The reference's files keep theirs.
        seed: of the shuffle and the sub-sample.
        vocabulary: ``reference``: ids for the categories of all days, the tested one included; ``train_only``: of the
            training days alone, and row 0 of each table for all others.
        min_count: with ``train_only``, categories with fewer training rows share row 0 as well.
        vocabulary_from: dataset folder whose ids are used, to score new logs with a model trained on it.
        bad_rows: ``stop`` at the first line that cannot be read, or ``skip:0.001``: leave such lines out, write them
            to rejected.tsv, and stop when their share is larger.
        workers: threads; as many as there are processors when not given.
        memory: budget beyond the vocabulary, for example 512MiB.
    """
    import dataclasses

    from dlrm_pl.data.preprocess import preprocess as convert
    from dlrm_pl.data.preprocessing.options import Options, parse_bad_rows, parse_memory

    options = Options(
        layout=layout,
        days=days,
        max_ind_range=max_ind_range,
        subsample_rate=subsample_rate,
        randomize=randomize,
        seed=seed,
        vocabulary=vocabulary,
        min_count=min_count,
        vocabulary_from=None if vocabulary_from is None else Path(vocabulary_from),
        bad_rows=parse_bad_rows(bad_rows),
        memory_bytes=parse_memory(memory),
    )
    if workers is not None:
        options = dataclasses.replace(options, workers=workers)
    with _stages() as advance:
        report = convert(Path(raw), Path(output), options, progress=advance)
    print(report)


def verify(
    artifact: str,
    data: str,
    ckpt_path: str | None = None,
    batch_size: int | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Check a certificate again, on this machine.

    Every file is compared with its checksum, the int8 model is scored on the certification rows, and each metric
    compared with what the certificate states. Exit status 2 when something differs.

    Args:
        artifact: the artifact folder.
        data: the dataset folder.
        ckpt_path: the float checkpoint that it was made from; when given, the loss of AUROC is measured anew.
        batch_size: of the scoring; as certified when not given.
        tolerance: allowed difference of each metric, for processors that round differently.
    """
    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.artifact.summary import loss_line
    from dlrm_pl.artifact.verification import verify_artifact

    loaded = load_artifact(artifact, checksums="always")
    with _progress("verify", loaded.certificate.rows) as advance:
        result = verify_artifact(
            loaded,
            Path(data),
            ckpt_path=None if ckpt_path is None else Path(ckpt_path),
            batch_size=batch_size,
            tolerance=tolerance,
            progress=advance,
        )
    print(f"{artifact}: checksums, {result.rows:,} rows and {sum(result.int8_ops.values())} int8 ops as certified.")
    print(f"int8 AUROC {result.int8.auroc:.6f}, certified {loaded.certificate.int8['auroc']:.6f}")
    print(("measured anew: " if result.measured_loss else "certified: ") + loss_line(result.certificate))


def benchmark(
    artifact: str,
    ckpt_path: str | None = None,
    data: str | None = None,
    batch_sizes: list[int] | None = None,
    threads: list[int] | None = None,
    seconds: float = 1.0,
    output: str | None = None,
    mlperf: Literal["offline", "server", "singlestream"] | None = None,
    target_qps: float | None = None,
    duration_s: float = 60.0,
    mlperf_accuracy: bool = False,
    pages: Literal["mapped", "prefault", "huge"] = "mapped",
) -> None:
    """Time an int8 artifact side by side with the float model, compiled and eager; or run MLPerf's scenarios on it.

    All contenders take turns in one process, and each is compared with fp32 before it is timed: fp32 and bf16, eager
    and compiled, the seed recipe (int8 MLPs in eager mode, fp32 tables), and the artifact. Exit status 2 as well when
    an MLPerf run is not valid, or its accuracy below 99.9 % of fp32's.

    Args:
        artifact: the artifact folder.
        ckpt_path: the float checkpoint that it was made from; without it, the artifact alone is timed.
        data: dataset folder whose test rows are scored; without it, random rows, uniform over each table, which is
            harder for caches than real logs.
        batch_sizes: samples at a time, for example [1,2048]; 1, 32, 2048 and 16384 when not given.
        threads: numbers of threads, for example [1,8]; 1, 2, 4, ... and all when not given. MLPerf takes one number,
            all when not given.
        seconds: for each contender at each batch size and number of threads; compiling takes longer than that.
        output: folder for benchmark.json and benchmark.svg; nothing is written when not given. MLPerf needs it, for
            mlperf.json and the logs.
        mlperf: a scenario of MLPerf inference instead, by mlcommons-loadgen, with samples of 100 to 700 rows.
        target_qps: samples a second that are expected (offline, singlestream) or sent (server); searched when not
            given.
        duration_s: of an MLPerf run, at least; the rules of MLPerf ask for 600.
        mlperf_accuracy: true: also write mlperf_log_accuracy.json, and check its AUROC; needs ``data``.
        pages: how the artifact's tables lie in memory: mapped from the file, read ahead, or copied to 2 MiB pages.
    """
    from rich.console import Console

    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.atomic import check_replaceable
    from dlrm_pl.benchmark.compare import BATCH_SIZES, all_thread_counts
    from dlrm_pl.benchmark.report import show
    from dlrm_pl.benchmark.run import benchmark_artifact, is_benchmark

    if output is not None:
        check_replaceable(Path(output), is_benchmark)
    checkpoint, folder = (None if path is None else Path(path) for path in (ckpt_path, data))
    if mlperf is not None:
        from dlrm_pl.benchmark.mlperf.run import Options

        options = Options(mlperf, folder, checkpoint, target_qps, duration_s, mlperf_accuracy)
        _benchmark_mlperf(artifact, pages, options, output, threads)
        return
    loaded = load_artifact(artifact, pages=pages)
    with Console(stderr=True).status("load") as status:
        report = benchmark_artifact(
            loaded,
            ckpt_path=checkpoint,
            data=folder,
            batch_sizes=batch_sizes or BATCH_SIZES,
            threads=threads or all_thread_counts(),
            seconds=seconds,
            progress=status.update,
        )
    show(report, Console())
    if output is not None:
        report.write(Path(output))
        print(f"{output}: benchmark.json, benchmark.svg")


def inspect(path: str) -> None:
    """Show what a dataset folder, a checkpoint or an artifact is, on one screen.

    Args:
        path: any of the three.
    """
    from dlrm_pl.inspection import describe

    print(describe(Path(path)))


def predict_with_artifact(
    artifact: str,
    data: str,
    output: str = "predictions.csv",
    raw: str | None = None,
    split: Literal["train", "val", "test"] = "test",
    batch_size: int = 2048,
    pages: Literal["mapped", "prefault", "huge"] = "mapped",
) -> None:
    """Score rows with an int8 artifact; needs no float model.

    Args:
        artifact: the artifact folder.
        data: the dataset folder: gives the rows, or for ``raw`` the vocabulary.
        output: file to write a click probability a row to, in order: .csv or .npy.
        raw: a raw log (tab-separated, plain or .gz) to score instead of a split.
        split: which part of the dataset to score.
        batch_size: rows at a time.
        pages: how tables lie in memory: mapped from the file, read ahead, or copied to 2 MiB pages.
    """
    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.data.raw_dataset import RawLogDataset
    from dlrm_pl.serving.predictor import Predictor, check_predictions_path, write_predictions
    from dlrm_pl.serving.rows import batches_to_predict

    check_predictions_path(Path(output))
    loaded = load_artifact(artifact, pages=pages)
    rows = batches_to_predict(loaded, Path(data), None if raw is None else Path(raw), split, batch_size)
    with _progress("predict", None) as advance:
        written = write_predictions(Path(output), Predictor(loaded).stream(rows, advance))
    print(f"{output}: {written:,} click probabilities")
    if isinstance(rows, RawLogDataset) and rows.unseen:
        print(f"{rows.unseen:,} category values are not in the vocabulary and were scored as missing")


def _benchmark_mlperf(
    artifact: str,
    pages: Literal["mapped", "prefault", "huge"],
    options: Any,
    output: str | None,
    threads: list[int] | None,
) -> None:
    """The part of ``benchmark`` that runs a scenario; ``options`` are those of ``benchmark.mlperf.run``."""
    from rich.console import Console

    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.benchmark.compare import torch_threads
    from dlrm_pl.benchmark.mlperf.run import run_mlperf
    from dlrm_pl.benchmark.report import show_mlperf
    from dlrm_pl.errors import ConfigurationError, VerificationError

    options.check()
    if output is None:
        raise ConfigurationError("--mlperf writes logs: give --output, a folder for them.")
    if threads is not None and (len(threads) != 1 or threads[0] < 1):
        raise ConfigurationError(f"--mlperf runs with one number of threads, at least 1, and not with {threads}.")
    with Console(stderr=True).status("load") as status, torch_threads(threads[0] if threads else None):
        report = run_mlperf(load_artifact(artifact, pages=pages), options, Path(output), status.update)
    show_mlperf(report, Console())
    print(f"{output}: mlperf.json, logs")
    if not report.result.valid:
        raise VerificationError(
            f"The run is INVALID: {report.result.reason}. Give another --target_qps, or a longer --duration_s."
        )
    if report.accuracy is not None and not report.accuracy.passed:
        raise VerificationError(
            f"The AUROC is {report.accuracy.share:.4%} of fp32's, 99.9 % is needed. Quantize with a tighter tolerance."
        )


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar of rows on the error output; yields the function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda rows: bar.advance(task, rows)


@contextmanager
def _stages() -> Iterator[Callable[[str, float, int], None]]:
    """A progress bar of stages on the error output, with rows a second and the time left."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, tuple[TaskID, float]] = {}
        rows_of: dict[str, int] = {}

        def advance(stage: str, share: float, rows: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=1.0, speed=""), time.monotonic()
            task, began = tasks[stage]
            rows_of[stage] = rows_of.get(stage, 0) + rows
            seconds = time.monotonic() - began
            speed = f"{rows_of[stage] / seconds:,.0f} rows/s" if rows_of[stage] and seconds > 0.5 else ""
            bar.update(task, completed=share, speed=speed)

        yield advance
