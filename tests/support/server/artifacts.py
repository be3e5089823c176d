"""Artifacts to serve: the tiny model with dictionaries, and rows that it scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import DictionaryChecksums, Vocabulary
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.tune import TuningSettings
from tests.support import tiny
from tests.support.artifacts import data

NUM_DENSE = tiny.ARCHITECTURE.bottom_mlp[0]
TABLE_SIZES = tiny.ARCHITECTURE.table_sizes
COLUMNS = Columns(
    "click",
    tuple(DenseColumn(name=f"n{number}") for number in range(NUM_DENSE)),
    (
        SparseColumn(name="word"),
        SparseColumn(name="user", kind="integer", ids="hash", rows=TABLE_SIZES[1]),
        SparseColumn(name="shop", kind="integer"),
    ),
)
TABLES: list[Any] = [Strings.of([b"w%d" % number for number in range(40)]), None, np.arange(100, 125)]
ENCODER = RowEncoder(COLUMNS, Vocabulary(TABLES, COLUMNS))


def build(output: Path, seed: int = 0, relative: float = 0.5) -> Path:
    """Build an artifact of a seeded model, with dictionaries; accepted unless the tolerance is tiny."""
    vocabulary = ENCODER.vocabulary
    fingerprint = DictionaryChecksums.of_tables(vocabulary.sizes, vocabulary.values, COLUMNS).fingerprint
    rows = data(columns=COLUMNS, dataset_fingerprint=fingerprint)
    settings = TuningSettings(criterion=Criterion(relative=relative), max_trials=1)
    outcome = build_artifact(tiny.model(seed), rows, settings, output, encoder=ENCODER)
    assert outcome.certificate.accepted == (relative > 0.1)
    return output


def random_rows(count: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return dense values and ids of rows, with some values missing."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 50, (count, NUM_DENSE)).astype(np.float32)
    dense[rng.random(dense.shape) < 0.1] = np.nan
    ids = np.stack([rng.integers(0, size, count) for size in TABLE_SIZES], axis=1)
    return dense, ids


def random_fields(count: int, seed: int = 0) -> dict[str, list[Any]]:
    """Return raw values of rows, some of them missing or not in the dictionaries."""
    rng = np.random.default_rng(seed)
    frame: dict[str, list[Any]] = {
        f"n{number}": [None if value < 3 else int(value) for value in rng.integers(0, 50, count)]
        for number in range(NUM_DENSE)
    }
    frame["word"] = [f"w{number}" for number in rng.integers(0, 45, count)]
    frame["user"] = [int(number) for number in rng.integers(-(2**40), 2**40, count)]
    frame["shop"] = [int(number) for number in rng.integers(95, 130, count)]
    return frame
