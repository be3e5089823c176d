"""MLPerf's samples, the batcher, the search, real runs of loadgen, and the accuracy log."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.mlperf import harness
from dlrm_pl.benchmark.mlperf.accuracy import FILE_NAME, check_accuracy, read_answers
from dlrm_pl.benchmark.mlperf.batcher import Batcher, chunks
from dlrm_pl.benchmark.mlperf.harness import Result, Run, Scenario, execute
from dlrm_pl.benchmark.mlperf.rules import RULES, Version, rules_of
from dlrm_pl.benchmark.mlperf.samples import MEAN_PAIRS, SampleLibrary, cut, draw_lengths, joined
from dlrm_pl.benchmark.mlperf.search import choose_batch, find_valid, measure_speeds
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.errors import ConfigurationError, VerificationError
from dlrm_pl.metrics.ranking import exact_auroc
from tests.support import tiny

CROSSED = dataclasses.replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=3)

needs_loadgen = pytest.mark.skipif(find_spec("mlperf_loadgen") is None, reason="mlcommons-loadgen is not installed")


# Samples


def test_lengths_are_mlperfs() -> None:
    lengths = draw_lengths(20_000)
    assert set(lengths.tolist()) == {100, 200, 300, 400, 500, 600, 700}
    assert lengths.mean() == pytest.approx(MEAN_PAIRS, rel=0.01)
    assert (lengths == 200).mean() == pytest.approx(0.6, abs=0.02)
    assert np.array_equal(lengths, draw_lengths(20_000))


def test_samples_of_mlperfs_rows_are_those_of_its_trace() -> None:
    """MLPerf's page states the MD5 of dlrm_trace_of_aggregated_samples.txt, which covers the 89,137,319 rows of v2."""
    bounds = cut(89_137_319).tolist()
    assert len(bounds) == 330_067 + 1
    trace = "".join(f"{start}, {stop}, {stop - start}\n" for start, stop in pairwise(bounds))
    assert hashlib.md5(trace.encode()).hexdigest() == "3db90209564316f2506c99cc994ad0b2"


def test_the_rules_follow_from_the_model() -> None:
    v1, v2 = rules_of(tiny.ARCHITECTURE), rules_of(CROSSED)
    assert (v1.server_latency_s, v2.server_latency_s) == (0.030, 0.060)
    assert v2.needed_auroc == pytest.approx(0.802297, abs=5e-7)  # The submission checker has 80.2297.
    assert rules_of(CROSSED, "v1") == v1
    assert rules_of(tiny.ARCHITECTURE, "v2") == v2


def test_as_many_samples_are_loaded_as_was_asked_for() -> None:
    library = SampleLibrary.of_random_rows(tiny.ARCHITECTURE, most_loaded=3)
    assert (len(library), library.loaded_at_a_time) == (3, 3)
    library = SampleLibrary([100] * 9, lambda number: tiny.batches(1, 100, seed=number)[0], most_loaded=4)
    assert (len(library), library.loaded_at_a_time) == (9, 4)


def test_samples_of_a_dataset_hold_every_row_once(synthetic_folder: Path) -> None:
    dataset = ClickDataset.of_split(DatasetFolder.open(synthetic_folder), "test")
    library = SampleLibrary.of_dataset(dataset)
    numbers = range(len(library))
    library.load(numbers)
    whole, joined = dataset[0 : len(dataset)], library.batch(numbers)
    for name in ("dense", "indices", "labels"):
        assert torch.equal(getattr(joined, name), getattr(whole, name))
    assert library.lengths == [library.batch([number]).num_samples for number in numbers]
    library.unload(numbers)
    with pytest.raises(KeyError):
        library.batch([0])


@pytest.mark.parametrize("largest", [7, 2**31 + 5])
def test_samples_in_memory_are_the_ones_that_were_read(largest: int) -> None:
    batches = [batch._replace(indices=batch.indices.clone()) for batch in tiny.bags(2, 3)]
    batches[0].indices[2] = largest
    library = SampleLibrary([3, 3], lambda number: batches[number])
    library.load(range(2))
    for numbers in ([0], [1], [1, 0]):
        found, expected = library.batch(numbers), joined([batches[number] for number in numbers])
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


def test_samples_that_do_not_fit_into_memory_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    one = tiny.batches(1, 100)[0]  # 13 dense values, a label and 3 ids of four bytes each.
    library = SampleLibrary([100] * 5, lambda number: read.append(number) or one)
    monkeypatch.setattr("dlrm_pl.memory.available_bytes", lambda: 100)
    with pytest.raises(ConfigurationError, match=r"5 samples of MLPerf will need 33.2 KiB .*smaller --mlperf_samples"):
        library.require_memory()
    assert read == [0]


# The batcher


def test_samples_with_bags_score_together_as_alone() -> None:
    parts = [tiny.bags(1, rows, seed=rows)[0] for rows in (3, 2, 5)]
    whole, model = joined(parts), tiny.model()
    with torch.no_grad():
        torch.testing.assert_close(model(whole), torch.cat([model(part) for part in parts]))
    assert torch.equal(whole.known_labels, torch.cat([part.known_labels for part in parts]))


def test_chunks_keep_the_order_and_the_largest_size() -> None:
    assert list(chunks([3, 3, 3, 9, 1, 1], lambda size: size, 6)) == [[3, 3], [3], [9], [1, 1]]
    assert list(chunks([], lambda size: size, 6)) == []


def test_what_waits_while_one_batch_is_scored_makes_the_next() -> None:
    batches: list[list[int]] = []
    first_is_running, go_on = threading.Event(), threading.Event()

    def handle(batch: list[int]) -> None:
        batches.append(batch)
        first_is_running.set()
        assert go_on.wait(200)

    with Batcher(handle, lambda size: size, 6) as batcher:
        batcher.submit([1])
        assert first_is_running.wait(200)
        batcher.submit([2, 3, 4, 9, 1])
        go_on.set()
    assert batches == [[1], [2, 3], [4], [9], [1]]


# The search


def test_the_server_takes_the_fastest_batch_that_a_quarter_of_its_bound_allows() -> None:
    speeds = {700: 100_000.0, 1400: 200_000.0, 2800: 300_000.0, 5600: 400_000.0}
    assert choose_batch(speeds, "server", 0.030) == 1400  # 7 ms; 2800 pairs take 9.3 ms.
    assert choose_batch(speeds, "server", 0.060) == 5600  # 14 ms.
    assert choose_batch(speeds, "offline", 0.030) == 5600
    assert choose_batch(speeds, "singlestream", 0.030) == 700
    assert choose_batch({700: 1000.0, 1400: 2000.0}, "server", 0.030) == 700  # Nothing is fast enough: the smallest.


def test_speeds_are_measured_for_every_batch_size() -> None:
    speeds = measure_speeds(tiny.model(), SampleLibrary.of_random_rows(tiny.ARCHITECTURE), seconds=0.001)
    assert list(speeds) == [700, 1400, 2800, 5600, 11200]
    assert min(speeds.values()) > 0


def result(run: Run, valid: bool, samples_per_s: float = 100.0) -> Result:
    return Result(run, valid, "", samples_per_s, 0.0, {})


def test_trials_lower_the_rate_of_the_server_before_the_full_run() -> None:
    runs: list[Run] = []

    def machine(run: Run) -> Result:
        runs.append(run)
        return result(run, run.target_qps < (600 if run.duration_s < 60 else 550))

    found = find_valid(Run("server", 1000, 60, 1400), machine)
    assert found.valid
    assert [run.duration_s < 60 for run in runs] == [True] * 5 + [False] * 1
    assert found.run.target_qps == pytest.approx(1000 * 0.85**4)


def test_a_run_that_ended_early_is_expected_to_be_faster() -> None:
    said: list[str] = []
    found = find_valid(
        Run("offline", 10, 60, 1400), lambda run: result(run, run.target_qps > 100), progress=said.append
    )
    assert found.valid
    assert found.run.target_qps == pytest.approx(130)
    assert len(said) == 2


def test_a_machine_that_never_manages_is_not_tried_for_ever() -> None:
    runs: list[Run] = []
    assert not find_valid(Run("server", 1000, 60, 700), lambda run: runs.append(run) or result(run, False)).valid  # type: ignore[func-returns-value]
    assert len(runs) == 12 + 3


# Runs of loadgen


@pytest.fixture
def library() -> SampleLibrary:
    """Forty samples of the tiny model's rows, with labels."""
    batches = [tiny.batches(1, int(length), seed=number)[0] for number, length in enumerate(draw_lengths(40, seed=1))]
    return SampleLibrary([batch.num_samples for batch in batches], lambda number: batches[number])


def short(scenario: Scenario, target_qps: float) -> Run:
    return Run(scenario, target_qps, duration_s=0.5, max_pairs=1400)


@needs_loadgen
@pytest.mark.parametrize(("scenario", "target_qps"), [("offline", 1000.0), ("server", 300.0), ("singlestream", 1000.0)])
def test_every_scenario_runs(
    scenario: Scenario, target_qps: float, library: SampleLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(harness._MIN_QUERIES, "offline", 1000)
    found = execute(short(scenario, target_qps), tiny.model(), library, tmp_path)
    assert found is not None
    # On a busy machine a short server run may miss its bound; then it has to say so.
    assert found.valid != bool(found.reason)
    assert found.samples_per_s > 0  # The number depends on the machine.
    assert 100 <= found.pairs_per_s / found.samples_per_s <= 700
    assert 0 < found.latency_ms["p50"] <= found.latency_ms["p90"] <= found.latency_ms["p99"]
    assert (tmp_path / "mlperf_log_summary.txt").stat().st_size > 0
    json.dumps(found.to_dict())


@needs_loadgen
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_server_is_held_to_the_bound_of_its_rules(version: Version, library: SampleLibrary, tmp_path: Path) -> None:
    bound = RULES[version].server_latency_s
    run = dataclasses.replace(short("server", 300.0), latency_s=bound)
    execute(run, tiny.model(), library, tmp_path)
    lines = (tmp_path / "mlperf_log_detail.txt").read_text().splitlines()
    stated = {entry["key"]: entry["value"] for entry in (json.loads(line.removeprefix(":::MLLOG ")) for line in lines)}
    assert stated["effective_target_latency_ns"] == round(bound * 1e9)


@needs_loadgen
def test_accuracy_log_holds_every_probability_and_label(library: SampleLibrary, tmp_path: Path) -> None:
    run = dataclasses.replace(short("offline", 1000.0), accuracy=True)
    assert execute(run, tiny.model(), library, tmp_path) is None
    answers = read_answers(tmp_path / FILE_NAME)
    assert sorted(answers) == list(range(40))
    library.load(range(40))
    batch = library.batch(range(40))
    with torch.no_grad():
        expected = torch.stack([torch.sigmoid(tiny.model()(batch)), batch.labels], dim=1).numpy()
    found = np.concatenate([answers[number] for number in range(40)])
    # Batches are cut differently, and sums in another order round differently.
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    auroc = exact_auroc(expected[:, 0], expected[:, 1])
    path, pairs = tmp_path / FILE_NAME, sum(library.lengths)
    rules = RULES["v2"]
    accuracy = check_accuracy(path, samples=40, pairs=pairs, fp32_auroc=auroc, rules=rules)
    assert accuracy.passed
    assert accuracy.reaches_mlperf == (accuracy.auroc >= 0.999 * 0.8031)
    assert accuracy.share == pytest.approx(1, abs=1e-5)
    assert not check_accuracy(path, samples=40, pairs=pairs, fp32_auroc=auroc * 1.01, rules=rules).passed
    with pytest.raises(VerificationError, match=rf"has 40 samples with {pairs} pairs, but 41"):
        check_accuracy(path, samples=41, pairs=pairs, fp32_auroc=auroc, rules=rules)


def test_a_sample_that_was_answered_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    data = np.array([[0.25, 1.0]], np.float32).tobytes().hex()
    path.write_text(json.dumps([{"seq_id": n, "qsl_idx": 7, "data": data} for n in range(2)]))
    assert read_answers(path)[7].tolist() == [[0.25, 1.0]]
    path.write_text(json.dumps([{"seq_id": 0, "qsl_idx": 7, "data": data[:-8]}]))
    with pytest.raises(VerificationError, match="sample 7 has 4 bytes"):
        read_answers(path)


class Failing(nn.Module):
    """A model that fails, or does something else, at its third batch."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__()
        self.do, self.calls = do, 0

    def forward(self, batch: ClickBatch) -> Tensor:
        self.calls += 1
        if self.calls == 3:
            self.do()
        return torch.zeros(batch.num_samples)


@needs_loadgen
@pytest.mark.parametrize("scenario", ["server", "singlestream"])
def test_an_error_of_the_model_ends_the_run_and_is_raised(
    scenario: Scenario, library: SampleLibrary, tmp_path: Path
) -> None:
    def fail() -> None:
        raise ValueError("a broken model")

    with pytest.raises(ValueError, match="a broken model"):
        execute(short(scenario, 200.0), Failing(fail), library, tmp_path)


@needs_loadgen
def test_samples_that_cannot_be_read_end_the_run(tmp_path: Path) -> None:
    def fail(number: int) -> ClickBatch:
        raise OSError(f"sample {number} is gone")

    with pytest.raises(OSError, match=r"sample \d is gone"):
        execute(short("offline", 200.0), tiny.model(), SampleLibrary([100] * 3, fail), tmp_path)


@needs_loadgen
def test_an_interrupted_run_ends_before_it_says_so(library: SampleLibrary, tmp_path: Path) -> None:
    model = Failing(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        execute(short("server", 200.0), model, library, tmp_path)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("loadgen", "batcher"))]


def test_without_loadgen_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(ConfigurationError, match=r'pip install "dlrm-pl\[mlperf\]"'):
        harness.require_loadgen()
