"""Run a scenario with ``mlperf_loadgen``, which only this file imports, and read the result from its log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dlrm_pl.benchmark.mlperf.batcher import Batcher, chunks
from dlrm_pl.benchmark.mlperf.rules import RULES
from dlrm_pl.benchmark.mlperf.samples import SampleLibrary
from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import VerificationError
from dlrm_pl.extras import missing_extra

Scenario = Literal["offline", "server", "singlestream"]

# MLPerf's rules for both models.
SERVER_PERCENTILE = 0.99
_MIN_QUERIES = {"offline": 24_576, "server": 100, "singlestream": 100}
_SCENARIOS = {"offline": "Offline", "server": "Server", "singlestream": "SingleStream"}


@dataclass(frozen=True)
class Run:
    """Settings of a run.

    Attributes:
        scenario: offline: all samples at once; server: at random times, to be answered within a latency bound;
            singlestream: one after the other.
        target_qps: samples per second that are expected (offline, singlestream) or sent (server).
        duration_s: minimum duration in seconds.
        max_pairs: maximum number of user-item pairs in a batch.
        accuracy: score every sample once and log the responses, instead of measuring.
        latency_s: latency bound of the server scenario.
    """

    scenario: Scenario
    target_qps: float
    duration_s: float
    max_pairs: int
    accuracy: bool = False
    latency_s: float = RULES["v1"].server_latency_s


@dataclass(frozen=True)
class Result:
    """The result of a run, as loadgen reports it.

    Attributes:
        run: settings of the run.
        valid: whether the run meets MLPerf's rules, with the duration in the settings instead of MLPerf's.
        reason: why the run is not valid; empty if it is.
        samples_per_s: completed samples per second.
        pairs_per_s: user-item pairs per second; a pair is what other benchmarks call a sample.
        latency_ms: latency in milliseconds: p50, p90, p97, p99 and mean.
    """

    run: Run
    valid: bool
    reason: str
    samples_per_s: float
    pairs_per_s: float
    latency_ms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return asdict(self)


def require_loadgen() -> Any:
    """Import ``mlperf_loadgen``.

    Raises:
        ConfigurationError: the package is not installed.
    """
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise missing_extra("--mlperf needs mlcommons-loadgen", "mlperf", error) from None
    return mlperf_loadgen


def execute(run: Run, model: nn.Module, library: SampleLibrary, logs: Path) -> Result | None:
    """Run a scenario and read its result.

    Args:
        run: settings of the run.
        model: returns the logits of a batch of pairs.
        library: samples that loadgen requests by number.
        logs: existing folder for loadgen's files.

    Returns:
        The result; None in accuracy mode, whose result is ``mlperf_log_accuracy.json``.

    Raises:
        ConfigurationError: loadgen is not installed.
        Exception: whatever the model raised.
    """
    loadgen = require_loadgen()
    system = _System(loadgen, run, model, library)
    with ExitStack() as stack:
        respond: Callable[[Sequence[Any]], None] = system.respond_in_chunks
        if run.scenario == "server":
            respond = stack.enter_context(Batcher(system.respond, system.pairs, run.max_pairs)).submit
        sut = loadgen.ConstructSUT(respond, lambda: None)
        stack.callback(loadgen.DestroySUT, sut)
        samples = loadgen.ConstructQSL(len(library), library.loaded_at_a_time, system.load, library.unload)
        stack.callback(loadgen.DestroyQSL, samples)
        settings, logging = _settings(loadgen, run), _logging(loadgen, logs)
        # Run in another thread: an exception in loadgen's own loop, such as KeyboardInterrupt, would abort the process.
        pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="loadgen"))
        test = pool.submit(loadgen.StartTestWithLogSettings, sut, samples, settings, logging)
        try:
            test.result()
        except BaseException:
            system.stop()
            wait([test])
            raise
    if system.error is not None:
        raise system.error
    return None if run.accuracy else _read(run, logs, system.pairs_per_sample)


class _System:
    """The system under test: scores samples, answers loadgen, and keeps an error until loadgen has ended."""

    def __init__(self, loadgen: Any, run: Run, model: nn.Module, library: SampleLibrary) -> None:
        self._loadgen, self._run, self._model, self._library = loadgen, run, model, library
        self._stopped = False
        self._answered_samples, self._answered_pairs = 0, 0
        self.error: Exception | None = None

    @property
    def pairs_per_sample(self) -> float:
        return self._answered_pairs / max(1, self._answered_samples)

    def pairs(self, sample: Any) -> int:
        number: int = sample.index
        return self._library.lengths[number]

    def stop(self) -> None:
        """Answer all further requests without scoring them, so that loadgen ends as soon as it can."""
        self._stopped = True

    def load(self, numbers: Sequence[int]) -> None:
        """Read samples into memory; an error here would end the process."""
        try:
            self._library.load(numbers)
        except Exception as error:
            self.error = error
            self.stop()

    def respond_in_chunks(self, samples: Sequence[Any]) -> None:
        for chunk in chunks(samples, self.pairs, self._run.max_pairs):
            self.respond(chunk)

    def respond(self, samples: Sequence[Any]) -> None:
        answers: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(samples)
        if not self._stopped:
            try:
                answers = self._score(samples)
            except Exception as error:  # Loadgen would wait forever for this response; raise the error at the end.
                self.error = error
                self.stop()
        # Loadgen copies the arrays in this call, so they need not live longer.
        self._loadgen.QuerySamplesComplete(
            [
                self._loadgen.QuerySampleResponse(sample.id, answer.ctypes.data, answer.nbytes)
                for sample, answer in zip(samples, answers, strict=True)
            ]
        )

    def _score(self, samples: Sequence[Any]) -> list[npt.NDArray[np.float32]]:
        batch = self._library.batch([sample.index for sample in samples])
        with torch.inference_mode():  # Inference mode is set per thread.
            probabilities = torch.sigmoid(self._model(batch)).float()
        answer = probabilities
        if self._run.accuracy:
            # MLPerf's script reads pairs of a probability and a label.
            answer = torch.stack([probabilities, batch.known_labels], dim=1)
        lengths = [self.pairs(sample) for sample in samples]
        self._answered_samples += len(samples)
        self._answered_pairs += sum(lengths)
        return [np.ascontiguousarray(part.numpy()) for part in torch.split(answer, lengths)]


def _settings(loadgen: Any, run: Run) -> Any:
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, _SCENARIOS[run.scenario])
    settings.mode = loadgen.TestMode.AccuracyOnly if run.accuracy else loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(1e3 * run.duration_s)
    settings.min_query_count = _MIN_QUERIES[run.scenario]
    settings.offline_expected_qps = run.target_qps
    settings.server_target_qps = run.target_qps
    settings.server_target_latency_ns = int(1e9 * run.latency_s)
    settings.server_target_latency_percentile = SERVER_PERCENTILE
    # Half of the expected latency, because loadgen computes from it how many queries fill the duration.
    settings.single_stream_expected_latency_ns = int(0.5e9 / run.target_qps)
    return settings


def _logging(loadgen: Any, logs: Path) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = str(logs)
    output.copy_summary_to_stdout = False
    logging = loadgen.LogSettings()
    logging.log_output = output
    logging.enable_trace = False
    return logging


def _read(run: Run, logs: Path, pairs_per_sample: float) -> Result:
    """Read the result from loadgen's detailed log."""
    log = logs / "mlperf_log_detail.txt"
    lines = log.read_text(encoding="utf-8").splitlines()
    entries = (
        parse_json(line.removeprefix(":::MLLOG "), str(log), VerificationError, "Run it again.")
        for line in lines
        if line.startswith(":::MLLOG ")
    )
    values = {entry["key"]: entry["value"] for entry in entries}
    speed = float(
        values[
            {
                "offline": "result_samples_per_second",
                "server": "result_completed_samples_per_sec",
                "singlestream": "result_qps_with_loadgen_overhead",
            }[run.scenario]
        ]
    )
    reasons = [
        words
        for key, words in (
            ("result_perf_constraints_met", f"the latency bound of {1e3 * run.latency_s:.0f} ms was exceeded"),
            ("result_min_duration_met", f"it ended before {run.duration_s:g} s"),
            ("result_min_queries_met", f"it had fewer than {_MIN_QUERIES[run.scenario]:,} queries"),
            ("early_stopping_met", "too few queries to be certain of the latency"),
        )
        if values.get(key) is False
    ]
    percentiles = {f"p{p}": values[f"result_{p}.00_percentile_latency_ns"] / 1e6 for p in (50, 90, 97, 99)}
    return Result(
        run=run,
        valid=values["result_validity"] == "VALID",
        reason="; ".join(reasons),
        samples_per_s=speed,
        pairs_per_s=speed * pairs_per_sample,
        latency_ms=percentiles | {"mean": values["result_mean_latency_ns"] / 1e6},
    )
