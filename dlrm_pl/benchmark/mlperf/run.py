"""``benchmark --mlperf``: choose batch size and rate, run the scenario, check the accuracy, keep loadgen's logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.artifact.verification.originals import float_model, open_dataset
from dlrm_pl.benchmark.mlperf.accuracy import FILE_NAME as ACCURACY_LOG
from dlrm_pl.benchmark.mlperf.accuracy import Accuracy, check_accuracy
from dlrm_pl.benchmark.mlperf.harness import Result, Run, Scenario, execute, require_loadgen
from dlrm_pl.benchmark.mlperf.rules import Rules, Version, rules_of
from dlrm_pl.benchmark.mlperf.samples import LOADED_SAMPLES, MEAN_PAIRS, SEED, SampleLibrary
from dlrm_pl.benchmark.mlperf.search import choose_batch, find_valid, measure_speeds
from dlrm_pl.benchmark.run import FORMAT, MLPERF_FILE_NAME
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.atomic import atomic_folder
from dlrm_pl.files.replacement import PlannedOutput
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.runtime.cpu import describe_machine

_SCORED_AT_A_TIME = 16384


@dataclass(frozen=True)
class Options:
    """Settings of ``benchmark --mlperf``.

    Attributes:
        scenario: MLPerf's scenario.
        data: dataset folder whose rows are the samples; None: random rows.
        ckpt_path: float checkpoint whose AUROC the accuracy is compared with; None: the AUROC in the certificate.
        target_qps: samples per second; None: search for the highest valid rate.
        duration_s: minimum duration of a run in seconds. MLPerf's rules require 600.
        accuracy: whether to score all samples after the run and check their AUROC.
        seed: seed for the lengths of the samples.
        version: rules that apply, those of MLPerf's DLRM v1 or v2; None: those for the model.
        split: rows of the dataset. MLPerf's rows for v2 are val of a folder in TorchRec's format; in other folders,
            they are test.
        loaded_samples: number of samples in memory at a time; MLPerf's rules require 204,800.
    """

    scenario: Scenario
    data: Path | None = None
    ckpt_path: Path | None = None
    target_qps: float | None = None
    duration_s: float = 60.0
    accuracy: bool = False
    seed: int = SEED
    version: Version | None = None
    split: Literal["test", "val"] = "test"
    loaded_samples: int = LOADED_SAMPLES

    def check(self) -> None:
        """Check the settings before anything is read.

        Raises:
            ConfigurationError: a number is not positive, ``accuracy`` lacks labels, or loadgen is not installed.
        """
        require_loadgen()
        for name in ("duration_s", "target_qps", "loaded_samples"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigurationError(f"{name}={value} must be above 0.")
        if self.accuracy and self.data is None:
            raise ConfigurationError("--mlperf_accuracy needs labels: give --data, the dataset folder.")


@dataclass(frozen=True)
class Report:
    """Result of ``benchmark --mlperf``; ``accuracy`` is None unless it was requested."""

    artifact: str
    rules: Rules
    rows: str
    isa: str
    machine: dict[str, Any]
    threads: int
    samples: int
    result: Result
    accuracy: Accuracy | None

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return {"format": FORMAT} | asdict(self)


def run_mlperf(
    artifact: Artifact,
    options: Options,
    output: Path,
    planned: PlannedOutput,
    progress: Callable[[str], None] = lambda what: None,
) -> Report:
    """Run a scenario on an artifact; write ``mlperf.json`` and loadgen's logs of the last run.

    Args:
        artifact: as ``load_artifact`` returns it.
        options: settings.
        output: folder to write, completely or not at all; it is also written for an invalid run.
        planned: settings to record in the folder, and the folders that may be replaced.
        progress: called with a description of each step.

    Raises:
        ConfigurationError: see ``Options.check``; there is no float AUROC to compare the accuracy with; or the samples
            do not fit into memory.
        DatasetError: the artifact was made for another dataset.
        OutputError: ``output`` holds something else, or cannot be written.
    """
    options.check()
    dataset = None
    if options.data is not None:
        dataset = ClickDataset.of_split(open_dataset(options.data, artifact), options.split)
    rules = rules_of(artifact.model.architecture, options.version)
    most = options.loaded_samples
    fp32_auroc = _fp32_auroc(artifact, options, dataset, progress) if options.accuracy and dataset else None
    library = (
        SampleLibrary.of_random_rows(artifact.model.architecture, options.seed, artifact.columns, most)
        if dataset is None
        else SampleLibrary.of_dataset(dataset, options.seed, most)
    )
    library.require_memory()
    with atomic_folder(output, planned) as folder:
        result = _perform(artifact, options, rules, library, folder, progress)
        accuracy = None
        if fp32_auroc is not None:
            accuracy = _check_accuracy(artifact, rules, result.run, library, folder, fp32_auroc, progress)
        artifact.watch.check()
        report = Report(
            artifact=str(artifact.path),
            rules=rules,
            rows="random rows, uniform over each table"
            if dataset is None
            else f"{options.split} rows of {options.data}",
            isa=isa(),
            machine=describe_machine(),
            threads=torch.get_num_threads(),
            samples=len(library),
            result=result,
            accuracy=accuracy,
        )
        text = json.dumps(report.to_dict() | {"settings": planned.settings}, indent=2) + "\n"
        (folder / MLPERF_FILE_NAME).write_text(text, encoding="utf-8")
    return report


def _perform(
    artifact: Artifact,
    options: Options,
    rules: Rules,
    library: SampleLibrary,
    folder: Path,
    progress: Callable[[str], None],
) -> Result:
    """Run the scenario with the batch size that measures best, and search for the rate unless it is given."""
    progress("choosing the batch size")
    speeds = measure_speeds(artifact.model, library)
    max_pairs = choose_batch(speeds, options.scenario, rules.server_latency_s)
    # In singlestream, loadgen waits for each response, and samples have the mean length on average.
    fastest = speeds[min(speeds)] if options.scenario == "singlestream" else speeds[max_pairs]
    run = Run(
        scenario=options.scenario,
        target_qps=options.target_qps or fastest / MEAN_PAIRS,
        duration_s=options.duration_s,
        max_pairs=max_pairs,
        latency_s=rules.server_latency_s,
    )

    def perform(run: Run) -> Result:
        result = execute(run, artifact.model, library, folder)
        assert result is not None  # Only a run in accuracy mode returns None.
        return result

    if options.target_qps is not None:
        progress(f"{run.scenario}, {run.duration_s:g} s at {run.target_qps:,.0f} samples/s")
        return perform(run)
    return find_valid(run, perform, progress)


def _check_accuracy(
    artifact: Artifact,
    rules: Rules,
    run: Run,
    library: SampleLibrary,
    folder: Path,
    fp32_auroc: float,
    progress: Callable[[str], None],
) -> Accuracy:
    """Log the answers to all samples next to the logs of the measured run, and compare their AUROC."""
    progress("accuracy: scoring all samples")
    # Offline, whatever scenario was measured: the responses are the same, and there is no wait for random arrivals.
    scored = Run("offline", run.target_qps, run.duration_s, run.max_pairs, accuracy=True)
    with TemporaryDirectory(dir=folder) as logs:
        execute(scored, artifact.model, library, Path(logs))
        (Path(logs) / ACCURACY_LOG).rename(folder / ACCURACY_LOG)
    return check_accuracy(
        folder / ACCURACY_LOG,
        samples=len(library),
        pairs=sum(library.lengths),
        fp32_auroc=fp32_auroc,
        rules=rules,
    )


def _fp32_auroc(artifact: Artifact, options: Options, dataset: ClickDataset, progress: Callable[[str], None]) -> float:
    """Return the AUROC of the float model on all rows: measured, or from the certificate for the same rows."""
    certified = artifact.certificate.row_ranges["certification"]
    if options.ckpt_path is None:
        if (certified["split"], certified["start"], certified["stop"]) != (options.split, 0, len(dataset)):
            raise ConfigurationError(
                f"The certificate of {artifact.path} states the fp32 AUROC of rows {certified['start']} to "
                f"{certified['stop']} of {certified['split']}, not of all {len(dataset)} of {options.split}. Give "
                "--ckpt_path."
            )
        if not artifact.certificate.rows:
            raise ConfigurationError(
                f"The certificate of {artifact.path} states no fp32 AUROC, since the certification rows could not be "
                "scored. Give --ckpt_path."
            )
        return float(artifact.certificate.fp32["auroc"])
    progress("accuracy: scoring the float model")
    model = float_model(options.ckpt_path, artifact.certificate)
    scores, labels = [], []
    with torch.inference_mode():
        for batch in dataset.batches(_SCORED_AT_A_TIME):
            scores.append(model(batch).numpy())
            labels.append(batch.known_labels.numpy())
    return exact_auroc(np.concatenate(scores), np.concatenate(labels))
