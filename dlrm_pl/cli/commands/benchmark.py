"""Time an artifact, or run an MLPerf scenario on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from dlrm_pl.cli.commands.progress import status
from dlrm_pl.cli.output import Report
from dlrm_pl.program import is_quiet

Rival = Literal["onnxruntime", "openvino", "pt2e", "fbgemm", "max_autotune"]


def benchmark(
    artifact: str,
    ckpt_path: str | None = None,
    data: str | None = None,
    exported: list[str] | None = None,
    rivals: Literal["all"] | list[Rival] | None = None,
    batch_sizes: list[int] | None = None,
    threads: list[int] | None = None,
    seconds: float = 1.0,
    output: str | None = None,
    mlperf: Literal["offline", "server", "singlestream"] | None = None,
    target_qps: float | None = None,
    duration_s: float = 60.0,
    mlperf_accuracy: bool = False,
    mlperf_version: Literal["v1", "v2"] | None = None,
    mlperf_split: Literal["test", "val"] = "test",
    mlperf_samples: int = 2048,
    pages: Literal["mapped", "prefault", "huge"] = "mapped",
    overwrite: bool = False,
) -> Report:
    """Time an int8 artifact side by side with the float model, compiled and eager; or run MLPerf's scenarios on it.

    All contenders take turns in one process, and the scores of each are compared with fp32's before it is timed. They
    are fp32 and bf16, eager and compiled; eager_int8 (int8 MLPs in eager mode with fp32 tables, as in LPOT's example);
    the artifact; and with --rivals, other programs, of which the fastest is named. The exit status is also 2 if an
    MLPerf run is invalid, or its accuracy is below 99.9 % of fp32's.

    Args:
        artifact: the artifact folder.
        ckpt_path: the float checkpoint that the artifact was made from; without it, only the artifact is timed.
        data: dataset folder whose test rows are scored; without it, random rows are scored, uniform over each table,
            which are harder on caches than real logs.
        exported: folders that `export` made from the artifact, one of each format, for example [onnx,openvino]; each is
            timed in the program that its format is for.
        rivals: also time other programs that serve the float model, at their best known settings: all of them, or some,
            for example [onnxruntime,openvino]. They take minutes, mostly to compile. For those that are not installed,
            the command says what to install. Needs ``ckpt_path``.
        batch_sizes: batch sizes, for example [1,2048]; by default 1, 32, 2048 and 16384.
        threads: numbers of threads, for example [1,8]; by default 1, 2, 4, ... and all. MLPerf takes a single number,
            by default all.
        seconds: time for each contender at each batch size and number of threads, without compilation.
        output: folder for benchmark.json, benchmark.html (the results as a page) and benchmark.svg; by default nothing
            is written. Required with MLPerf, for mlperf.json and the logs.
        mlperf: run this MLPerf inference scenario with mlcommons-loadgen instead (100 to 700 rows per sample).
        target_qps: samples per second that are expected (offline, singlestream) or sent (server); by default, a search
            finds them.
        duration_s: minimum duration of an MLPerf run, in seconds; MLPerf's rules require 600.
        mlperf_accuracy: also write mlperf_log_accuracy.json and check its AUROC; needs ``data``.
        mlperf_version: rules of MLPerf's DLRM (v1, server within 30 ms) or DLRM-DCNv2 (v2, within 60 ms); by default,
            those for the model.
        mlperf_split: rows of ``data`` for MLPerf. MLPerf's own rows for v2 are val of a folder in TorchRec's format.
        mlperf_samples: number of MLPerf's samples in memory at a time; its rules require 204800.
        pages: how the artifact's tables are kept in memory: mapped from the file, read ahead, or copied to 2 MiB pages.
        overwrite: replace a benchmark with other settings in the folder ``output``.
    """
    from rich.console import Console

    from dlrm_pl.artifact.manifest import WEIGHTS_NAME
    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.benchmark.compare import BATCH_SIZES, all_thread_counts
    from dlrm_pl.benchmark.report import show
    from dlrm_pl.benchmark.rivals.choice import NAMES
    from dlrm_pl.benchmark.run import benchmark_artifact, recognize_benchmark
    from dlrm_pl.errors import ConfigurationError
    from dlrm_pl.files.atomic import check_folder
    from dlrm_pl.files.replacement import PlannedOutput

    loaded = load_artifact(artifact, pages=pages)
    asked: dict[str, Any] = {
        "mlperf": mlperf,
        "artifact": artifact,
        "ckpt_path": ckpt_path,
        "data": data,
        "pages": pages,
    }
    if exported:
        asked["exported"] = exported
    if rivals:
        asked["rivals"] = rivals
    if mlperf is not None:
        asked |= {"version": mlperf_version, "split": mlperf_split, "samples": mlperf_samples}
    settings = asked | {"weights": loaded.manifest.files[WEIGHTS_NAME], "batch_sizes": batch_sizes, "threads": threads}
    settings |= {"seconds": seconds, "target_qps": target_qps, "duration_s": duration_s, "accuracy": mlperf_accuracy}
    planned = PlannedOutput("benchmark", settings, recognize_benchmark, overwrite)
    if output is not None:
        check_folder(Path(output), planned)
    checkpoint, folder = (None if path is None else Path(path) for path in (ckpt_path, data))
    if mlperf is not None:
        from dlrm_pl.benchmark.mlperf.run import Options

        for option, given in (("--exported", exported), ("--rivals", rivals)):
            if given:
                raise ConfigurationError(f"--mlperf times the artifact alone. Leave out {option}.")
        options = Options(
            scenario=mlperf,
            data=folder,
            ckpt_path=checkpoint,
            target_qps=target_qps,
            duration_s=duration_s,
            accuracy=mlperf_accuracy,
            version=mlperf_version,
            split=mlperf_split,
            loaded_samples=mlperf_samples,
        )
        return _benchmark_mlperf(loaded, options, output, threads, planned)
    with status("load") as update:
        report = benchmark_artifact(
            loaded,
            ckpt_path=checkpoint,
            data=folder,
            batch_sizes=batch_sizes or BATCH_SIZES,
            threads=threads or all_thread_counts(),
            seconds=seconds,
            exported=[Path(path) for path in exported or ()],
            rivals=NAMES if rivals == "all" else rivals or (),
            progress=update,
            announce=_announce,
        )
    if output is not None:
        report.write(Path(output), planned)

    def print_report() -> None:
        show(report, Console())
        if output is not None:
            print(f"{output}: benchmark.json, benchmark.html, benchmark.svg")

    return Report(report.to_dict() | {"output": output}, print_report)


def _announce(text: str) -> None:
    """Say on stderr what is about to run, unless ``-q`` was given."""
    if not is_quiet():
        print(text, file=sys.stderr, flush=True)


def _benchmark_mlperf(
    loaded: Any,
    options: Any,
    output: str | None,
    threads: list[int] | None,
    planned: Any,
) -> Report:
    """The part of ``benchmark`` that runs a scenario; ``options`` are its own."""
    from rich.console import Console

    from dlrm_pl.benchmark.compare import torch_threads
    from dlrm_pl.benchmark.mlperf.run import run_mlperf
    from dlrm_pl.benchmark.report import show_mlperf
    from dlrm_pl.errors import ConfigurationError, VerificationError

    options.check()
    if output is None:
        raise ConfigurationError("--mlperf writes logs. Give --output, a folder for them.")
    if threads is not None and (len(threads) != 1 or threads[0] < 1):
        raise ConfigurationError(f"--mlperf runs with a single number of threads, at least 1, not with {threads}.")
    searched = "" if options.target_qps else ", after a search for the samples per second to expect"
    _announce(f"benchmark: {options.scenario} for at least {options.duration_s:g} s{searched}")
    with status("load") as update, torch_threads(threads[0] if threads else None):
        report = run_mlperf(loaded, options, Path(output), planned, update)
    error: VerificationError | None = None
    if not report.result.valid:
        error = VerificationError(
            f"The run is INVALID: {report.result.reason}. Give a different --target_qps or a longer --duration_s."
        )
    elif report.accuracy is not None and not report.accuracy.passed:
        error = VerificationError(
            f"The AUROC is {report.accuracy.share:.4%} of fp32's; 99.9 % is needed. Quantize with a tighter tolerance."
        )

    def print_report() -> None:
        show_mlperf(report, Console())
        print(f"{output}: mlperf.json, logs")

    return Report(report.to_dict() | {"output": output}, print_report, error)
