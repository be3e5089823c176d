"""Preprocessing options that make no sense, and values in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.options import PreprocessOptions, parse_bad_rows, parse_memory
from dlrm_pl.errors import ConfigurationError

NO_HEX = Columns(
    "click",
    (DenseColumn(name="age"),),
    (SparseColumn(name="site"), SparseColumn(name="user", kind="hex", ids="modulo", rows=5)),
)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_count": 2}, "min_count=2 needs --vocabulary train_only"),
        ({"min_count": 0}, "min_count=0 must be at least 1"),
        ({"subsample_rate": 1.0}, "subsample_rate=1.0 must be"),
        ({"workers": 0}, r"workers=0 \(--threads\) must be at least 1"),
        ({"workers": 1.5}, "workers=1.5 must be a whole number"),
        ({"seed": -1}, "seed=-1 must be between 0 and"),
        ({"bad_rows": 2}, "bad_rows=2 must be between 0 and 1"),
        ({"checkpoint_bytes": 0}, "checkpoint_bytes=0 must be at least 1"),
        ({"vocabulary_from": 3}, "vocabulary_from=3 must be a path or None"),
        ({"memory_bytes": 1}, "memory=1 bytes must be at least 16 MiB"),
        ({"max_ind_range": 2**32}, "max_ind_range=4294967296 must be at most"),
        ({"max_ind_range": 1000, "columns": NO_HEX}, "max_ind_range=1000 is for hex columns .* there are none"),
        ({"randomize": "some"}, "randomize='some' must be one of 'total', 'day', 'none' or None"),
        ({"vocabulary": "train_only", "vocabulary_from": Path()}, "vocabulary_from uses existing ids unchanged"),
    ],
)
def test_options_that_make_no_sense(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PreprocessOptions(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2 << 30), ("512M", 512 << 20), ("1.5 KiB", 1536), ("100", 100), ("3tb", 3 << 40)]
)
def test_memory_in_words(text: str, size: int) -> None:
    assert parse_memory(text) == size
    with pytest.raises(ConfigurationError, match="must be a number with a unit"):
        parse_memory(text + "x")


@pytest.mark.parametrize("text", ["²GiB", "9" * 5000, "9" * 400 + "T", "-1", "nan", "inf", "1e3", ""])
def test_memory_that_is_no_number(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a number with a unit"):
        parse_memory(text)


@pytest.mark.parametrize(("text", "share"), [("stop", None), ("skip:0.001", 0.001), ("skip:.5", 0.5), ("skip:0", 0.0)])
def test_bad_rows_in_words(text: str, share: float | None) -> None:
    assert parse_bad_rows(text) == share
    with pytest.raises(ConfigurationError, match="must be stop, or skip:"):
        parse_bad_rows(text + "%")
