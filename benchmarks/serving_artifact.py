"""Artifacts of MLPerf's shape for ``serving.py``: a small one, and one whose tables are sparse files of 60 GB."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from startup import DIM, TABLE_SIZES

from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.rows import random_batch
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.kernels.int8.rows import row_bytes
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.row_sets import RowSets
from dlrm_pl.quantization.search.tune import TuningSettings
from dlrm_pl.runtime.table_file import file_header
from dlrm_pl.runtime.table_name import file_name

# MLPerf's tables take 25 GB in int8; these take 60.
LARGE_SIZES = tuple(round(2.42 * rows) for rows in TABLE_SIZES)
SIZES = {"calibration": 512, "tuning": 2048, "certification": 2048}


def architecture(sizes: tuple[int, ...]) -> Architecture:
    """Return MLPerf's architecture with tables of these sizes."""
    return Architecture(
        table_sizes=sizes,
        embedding_dim=DIM,
        bottom_mlp=(13, 512, 256, DIM),
        top_mlp=(1024, 1024, 512, 256, 1),
    )


def build(folder: Path, rows: int, seed: int) -> None:
    """Write an accepted artifact of random weights, with tables of ``rows`` rows."""
    torch.manual_seed(seed)
    shape = architecture((rows,) * len(TABLE_SIZES))
    model = DLRM(shape).eval()
    with torch.no_grad():
        for table in model.embedding_bags.parameters():
            table.mul_(0.3 * rows**0.5)
    sets = {name: [_labelled(model, count, number)] for number, (name, count) in enumerate(SIZES.items())}
    ranges = {
        name: RowRange("test" if name == "certification" else "val", 4096 * number, 4096 * number + count)
        for number, (name, count) in enumerate(SIZES.items())
    }
    data = RowSets(
        **sets,
        row_ranges=ranges,
        dataset_fingerprint="feedc0de",
        batch_size=2048,
        best_possible_auroc=None,
    )
    criterion = Criterion(relative=0.9, confidence=None, log_loss=None, calibration_ratio=None)
    build_artifact(model, data, TuningSettings(criterion=criterion, max_trials=1), folder)


def enlarge(small: Path, folder: Path) -> int:
    """Copy an artifact with tables of 60 GB, which are zeros in sparse files; returns the bytes of the tables."""
    shutil.copytree(small, folder)
    manifest = Manifest.read(folder)
    table_bytes = 0
    for index, rows in enumerate(LARGE_SIZES):
        with (folder / file_name(index, "int8")).open("wb") as file:
            file.write(file_header(torch.uint8, (rows, row_bytes("int8", DIM))))
            file.truncate(file.tell() + rows * row_bytes("int8", DIM))
            table_bytes += rows * row_bytes("int8", DIM)
    files = dict(manifest.files)
    for index, rows in enumerate(LARGE_SIZES):
        name = file_name(index, "int8")
        # Digests of the large ones are not compared, and would take minutes.
        if rows * row_bytes("int8", DIM) < 1 << 25:
            files[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    changed = replace(manifest, architecture=architecture(LARGE_SIZES).to_dict(), files=files, table_bytes=table_bytes)
    changed.write(folder)
    return table_bytes


def _labelled(model: DLRM, count: int, seed: int) -> ClickBatch:
    batch = random_batch(model.architecture, count, seed)
    with torch.no_grad():
        logits = model(batch)
    rng = torch.Generator().manual_seed(seed)
    chance = torch.sigmoid(3 * (logits - logits.mean()) / logits.std())
    return batch._replace(labels=torch.bernoulli(chance, generator=rng))
