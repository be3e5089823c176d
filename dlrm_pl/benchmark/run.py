"""Benchmark an artifact: build the float contenders, count bytes and integer ops, and time all contenders."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.artifact.verification.originals import float_model, open_dataset
from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.compare import compare
from dlrm_pl.benchmark.comparison import Comparison
from dlrm_pl.benchmark.contenders import Contenders, float_contenders, int8_contender
from dlrm_pl.benchmark.exported import exported_contenders
from dlrm_pl.benchmark.footprint import (
    float_row_bytes,
    int8_row_bytes,
    int8_weight_bytes,
    lookups_per_sample,
    weight_count,
)
from dlrm_pl.benchmark.page.page import render as render_page
from dlrm_pl.benchmark.plot import render
from dlrm_pl.benchmark.rivals.choice import RivalName, with_rivals
from dlrm_pl.benchmark.rows import Source, dataset_rows, random_batch, random_rows
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.errors import ConfigurationError, VerificationError
from dlrm_pl.files.atomic import atomic_folder
from dlrm_pl.files.replacement import FinishedOutput, PlannedOutput
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.runtime.cpu import describe_machine
from dlrm_pl.runtime.int8_dlrm import count_int8_ops

log = logging.getLogger(__name__)

FORMAT = 1
FILE_NAME = "benchmark.json"
MLPERF_FILE_NAME = "mlperf.json"
# Files that loadgen writes.
MLPERF_LOGS = tuple(f"mlperf_log_{name}" for name in ("summary.txt", "detail.txt", "trace.json", "accuracy.json"))
PLOT_NAME = "benchmark.svg"
PAGE_NAME = "benchmark.html"
# ``eager_int8`` and the rivals are calibrated to time them; a benchmark does not need their best accuracy.
_CALIBRATION_ROWS = 8192


@dataclass(frozen=True)
class Report:
    """The result of a benchmark.

    Attributes:
        artifact: folder of the artifact.
        rows: description of the rows that were scored.
        isa: instruction set of the int8 kernels; ``fallback`` is plain torch.
        machine: processor, its features, and versions of libraries.
        int8_ops: counts of the integer ops that one forward pass ran.
        row_bytes: average number of table bytes that a sample reads, by dtype.
        weight_bytes: number of all other bytes, which each batch reads once, by dtype.
        comparison: the timings.
    """

    artifact: str
    rows: str
    isa: str
    machine: dict[str, Any]
    int8_ops: dict[str, int]
    row_bytes: dict[str, int]
    weight_bytes: dict[str, int]
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return {"format": FORMAT} | asdict(self) | {"comparison": self.comparison.to_dict()}

    def write(self, folder: Path, planned: PlannedOutput) -> None:
        """Write ``benchmark.json``, ``benchmark.svg`` and ``benchmark.html``, all or none of them.

        Args:
            folder: folder to write.
            planned: settings to record in the folder, and the folders that may be replaced.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        with atomic_folder(folder, planned) as temporary:
            text = json.dumps(self.to_dict() | {"settings": planned.settings}, indent=2, allow_nan=False) + "\n"
            (temporary / FILE_NAME).write_text(text, encoding="utf-8")
            (temporary / PLOT_NAME).write_text(render(self.comparison, self.describe()), encoding="utf-8")
            (temporary / PAGE_NAME).write_text(render_page(self), encoding="utf-8")

    def describe(self) -> str:
        """Describe the machine and the rows in one line."""
        features = ", ".join(self.machine["features"]) or "no known features"
        return f"{self.machine['processor']} ({features}); int8 kernels: {self.isa}; {self.rows}"


def recognize_benchmark(folder: Path) -> FinishedOutput | None:
    """Read how the contents of a `benchmark` folder were made; None for other folders."""
    for what, name, others in (
        ("a benchmark", FILE_NAME, (PLOT_NAME, PAGE_NAME)),
        ("a run of MLPerf", MLPERF_FILE_NAME, MLPERF_LOGS),
    ):
        if contents := object_with(folder / name, "format"):
            return FinishedOutput(what, "benchmark", object_in(contents, "settings"), (*others, name))
    return None


def benchmark_artifact(
    artifact: Artifact,
    *,
    ckpt_path: Path | None,
    data: Path | None,
    batch_sizes: Sequence[int],
    threads: Sequence[int],
    seconds: float,
    exported: Sequence[Path] = (),
    rivals: Sequence[RivalName] = (),
    progress: Callable[[str], None] = lambda what: None,
    announce: Callable[[str], None] = lambda what: None,
) -> Report:
    """Time an artifact, and the float model that it was made from if that checkpoint is given.

    Args:
        artifact: as ``load_artifact`` returns it.
        ckpt_path: the float checkpoint; None: the artifact is timed alone.
        data: dataset folder whose test rows are scored; None: random rows.
        batch_sizes: see ``compare``.
        threads: see ``compare``.
        seconds: see ``compare``.
        exported: folders of the same model that ``export`` wrote, to time as well.
        rivals: other programs that serve the float model, to time as well; they need its checkpoint.
        progress: see ``compare``.
        announce: called once before the timing, with its expected duration.

    Raises:
        CheckpointError: the checkpoint is unreadable, or the artifact was made from another one.
        DatasetError: the artifact was made for another dataset.
        VerificationError: a contender does not compute the same model.
        ConfigurationError: rivals are requested without a checkpoint.
    """
    if rivals and ckpt_path is None:
        raise ConfigurationError("Rivals serve the float model. Give its checkpoint with --ckpt_path.")
    model = artifact.model
    source, calibration, rows = _rows(artifact, data)
    first = next(iter(calibration))
    ops, lookups = count_int8_ops(model, first), lookups_per_sample(first)
    if ops != model.expected_int8_ops():
        raise VerificationError(
            f"One forward pass ran the integer ops {ops}, but the artifact's dtypes need {model.expected_int8_ops()}."
        )
    row_bytes, weight_bytes = {"int8": int8_row_bytes(model, lookups)}, {"int8": int8_weight_bytes(model)}
    contenders = Contenders((int8_contender(model),), {})
    if ckpt_path is not None:
        log.info("%s: reading the whole checkpoint to compare its weights with the artifact's", ckpt_path)
        progress("build the float contenders")
        float_dlrm = float_model(ckpt_path, artifact.certificate)
        floats = with_rivals(float_contenders(float_dlrm, calibration), float_dlrm, calibration, rivals)
        contenders = Contenders((*floats.available, *contenders.available), floats.unavailable)
        for dtype, size in (("fp32", 4), ("bf16", 2)):
            row_bytes[dtype] = float_row_bytes(model.architecture, size, lookups)
            weight_bytes[dtype] = weight_count(model.architecture) * size
    others = exported_contenders(exported, artifact)
    contenders = Contenders((*contenders.available, *others), contenders.unavailable)
    announce(_expected(contenders, len(batch_sizes) * len(threads), seconds))
    comparison = compare(
        contenders, source, batch_sizes=batch_sizes, threads=threads, seconds=seconds, progress=progress
    )
    artifact.watch.check()
    return Report(
        artifact=str(artifact.path),
        rows=rows,
        isa=isa(),
        machine=describe_machine(),
        int8_ops=ops,
        row_bytes=row_bytes,
        weight_bytes=weight_bytes,
        comparison=comparison,
    )


def _expected(contenders: Contenders, cells: int, seconds: float) -> str:
    """Describe how long the timing will take."""
    present = len(contenders.available)
    compiled = sum(contender.compiled for contender in contenders.available)
    whole = round(present * cells * seconds)
    duration = f"{whole // 60} min {whole % 60} s" if whole >= 120 else f"{whole} s"
    more = f", and {_counted(compiled * cells, 'compilation')} of about ten seconds each" if compiled else ""
    return (
        f"benchmark: {_counted(present, 'contender')}, {_counted(cells, 'combination')} of batch size and threads, "
        f"{seconds:g} s for each: "
        f"{duration} of timing{more}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _rows(artifact: Artifact, data: Path | None) -> tuple[Source, Iterable[ClickBatch], str]:
    """Return the rows to score, the calibration batches, and a description of the rows to score."""
    if data is None:
        architecture = artifact.model.architecture
        calibration = [random_batch(architecture, _CALIBRATION_ROWS, -1, artifact.columns)]
        return random_rows(architecture, columns=artifact.columns), calibration, "random rows, uniform over each table"
    folder = open_dataset(data, artifact)
    stop = min(_CALIBRATION_ROWS, folder.splits["val"].records)
    val = ClickDataset.of_split(folder, "val", stop=stop)
    return dataset_rows(ClickDataset.of_split(folder, "test")), val.batches(_CALIBRATION_ROWS), f"test rows of {data}"
