"""Small logs in files with named columns: options of ``preprocess``, and comparison with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, Split, open_records
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from tests.reference.click_logs import dictionaries, records_of
from tests.support.logs.click_tables import SHOP

FEW = PreprocessOptions(
    columns=SHOP, split_by="time", vocabulary="train_only", min_count=2, bad_rows=0.01, workers=1, subsample_rate=0.1
)
"""One thread and no checkpoint."""

MANY = replace(FEW, memory_bytes=16 << 20, checkpoint_bytes=40_000, workers=3)
"""The same dataset with many checkpoints and buckets from little data."""


def plain(columns: Columns) -> dict[str, Any]:
    """Return columns in the form that the reference takes."""
    return asdict(columns)


def split_rows(folder: DatasetFolder, split: Split) -> list[list[int]]:
    """Return the records of a split."""
    return open_records(folder.split_path(split), folder.columns).tolist()  # type: ignore[no-any-return]


def values_of(folder: DatasetFolder) -> list[list[Any] | None]:
    """Return the values of each table; None for one without a dictionary."""
    return [
        values.to_list() if isinstance(values, Strings) else None if values is None else values.tolist()
        for values in folder.vocabulary().values
    ]


def check(folder: DatasetFolder, days: Sequence[Sequence[dict[str, Any]]], options: PreprocessOptions) -> None:
    """Compare a dataset with the reference's result for its rows."""
    train = [row for day in days[:-1] for row in day]
    last = list(days[-1])
    only_train = options.vocabulary == "train_only"
    learnt = train if only_train else train + last
    assert options.columns is not None
    expected = dictionaries(plain(options.columns), learnt, only_train, options.min_count)
    assert values_of(folder) == expected
    cut = (len(last) + 1) // 2
    parts: dict[Split, list[dict[str, Any]]] = {"train": train, "test": last[:cut], "val": last[cut:]}
    for split in SPLITS:
        found = split_rows(folder, split)
        wanted = records_of(plain(folder.columns), expected, parts[split])
        if split == "train" and options.randomize != "none":
            assert found != wanted
            found, wanted = sorted(found), sorted(wanted)
        assert found == wanted
    folder.verify_checksums()
