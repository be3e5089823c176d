"""Options of ``preprocess`` for small logs of files with named columns."""

from __future__ import annotations

from dataclasses import replace

from dlrm_pl.data.preprocessing.options import PreprocessOptions
from tests.support.click_tables import SHOP

FEW = PreprocessOptions(
    columns=SHOP, split_by="time", vocabulary="train_only", min_count=2, bad_rows=0.01, workers=1, subsample_rate=0.1
)
"""One thread, and no checkpoint."""

MANY = replace(FEW, memory_bytes=16 << 20, checkpoint_bytes=40_000, workers=3)
"""The same dataset, with many checkpoints and buckets on little data."""
