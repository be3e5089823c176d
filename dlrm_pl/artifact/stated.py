"""Fields that a manifest and a certificate must have, with their types.

A checksum shows that a file is unchanged, but not that its contents are valid: their types are checked as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from dlrm_pl.documents.fields import Count, Partial, Positive, Share, Within, make, shown
from dlrm_pl.errors import ArtifactError
from dlrm_pl.kernels.int8.dtypes import FloatDtype, InteractionDtype
from dlrm_pl.kernels.int8.rows import TableDtype

_Above = Annotated[float, Within(1e-12)]
_Step = Annotated[float, Within(1e-45, 3.4e38)]  # The smallest and the largest positive float32.
_Byte = Annotated[int, Within(0, 255)]


@dataclass(frozen=True)
class _Int8Op:
    """Fields of an int8 Linear."""

    dtype: Literal["int8"]
    input_scale: _Step
    input_zero_point: _Byte
    output_scale: _Step | None
    output_zero_point: _Byte
    relu: bool
    quantizes_input: bool


@dataclass(frozen=True)
class _FloatOp:
    """Fields of a float Linear."""

    dtype: FloatDtype
    relu: bool


@dataclass(frozen=True)
class _TableOp:
    """Fields of an embedding table."""

    dtype: TableDtype
    rows: Positive


@dataclass(frozen=True)
class _InteractionOp:
    """Fields of the interaction, which takes dot products of the vectors or concatenates them."""

    dtype: InteractionDtype


def check_ops(ops: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Check the ops of a manifest.

    Raises:
        ArtifactError: a field of an op is missing, unknown or has the wrong type; or the tables are not numbered
            consecutively.
    """
    tables = sorted(name for name in ops if name.startswith("tables."))
    for name in ("interaction", *(f"tables.{index}" for index in range(len(tables)))):
        if name not in ops:
            raise ArtifactError(f"{where}: {name!r} is missing. Quantize again.")
    for name, op in ops.items():
        kind: Any = _Int8Op if op.get("dtype") == "int8" else _FloatOp
        if name in tables or name == "interaction":
            kind = _TableOp if name in tables else _InteractionOp
        make(kind, op, f"{where}.{shown(name)[1:-1]}", ArtifactError, "Quantize again.")


@dataclass(frozen=True)
class _Machine(Partial):
    """The machine on which an artifact was made or certified."""

    processor: str
    torch: str


@dataclass(frozen=True)
class _Metrics(Partial):
    auroc: Share
    log_loss: float
    normalized_entropy: float
    calibration_ratio: float
    samples_per_s: float


@dataclass(frozen=True)
class _BaseMetrics(_Metrics):
    """Metrics of the fp32 model, which those of int8 are divided by."""

    samples_per_s: _Above


@dataclass(frozen=True)
class _RowRange(Partial):
    split: Literal["train", "val", "test"]
    start: Count
    stop: Count


@dataclass(frozen=True)
class _RowRanges(Partial):
    certification: _RowRange
    calibration: _RowRange | None = None
    tuning: _RowRange | None = None


@dataclass(frozen=True)
class StatedManifest(Partial):
    """Parts of ``manifest.json`` whose types its dataclass leaves open."""

    fp32_bytes: Positive
    int8_bytes: Count
    table_bytes: Count
    machine: _Machine
    ops: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class StatedCertificate(Partial):
    """Parts of ``certificate.json`` whose types its dataclass leaves open."""

    fp32: _BaseMetrics
    int8: _Metrics
    confidence: Share
    rows: Count
    positives: Count
    batch_size: Positive
    row_ranges: _RowRanges
    machine: _Machine
