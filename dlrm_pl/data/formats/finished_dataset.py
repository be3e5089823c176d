"""A finished dataset folder: its description is written, and recognized by a command that would replace it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import (
    LABEL,
    SPLITS,
    Split,
    columns_or_criteo,
    open_records,
    split_file_name,
)
from dlrm_pl.data.formats.block_checksum import block_bytes, file_checksum
from dlrm_pl.data.formats.block_digests import digests_path
from dlrm_pl.data.formats.dataset_description import DESCRIPTION_NAME, FORMAT, REJECTED, SplitInfo
from dlrm_pl.data.formats.torchrec.recognition import recognize_days
from dlrm_pl.data.formats.vocabulary import COUNTS_NAME, DictionaryChecksums, dictionary_name, load_counts
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.files.replacement import FinishedOutput

if TYPE_CHECKING:
    pass

from dlrm_pl.data.formats.dataset_folder import DatasetFolder


def describe(
    folder: Path,
    *,
    max_ind_range: int,
    created_by: str,
    columns: Columns | None = None,
    best_possible_auroc: Mapping[str, float] | None = None,
    splits: Mapping[Split, SplitInfo] | None = None,
    known_dictionaries: DictionaryChecksums | None = None,
    extra: Mapping[str, Any] | None = None,
) -> DatasetFolder:
    """Write ``dataset.json`` for the files of a folder, and return the described folder.

    Args:
        folder: folder with the splits, the counts and the dictionaries.
        max_ind_range: modulus of the raw categories; written only if it applies to some column.
        created_by: command that made the folder.
        columns: columns of the records; None: Criteo's.
        best_possible_auroc: best AUROC that a model can expect on each split of synthetic data.
        splits: contents of the splits, if they are known; otherwise the files are read.
        known_dictionaries: checksums of the dictionaries, if they are known; otherwise the dictionaries are read.
        extra: more entries of ``dataset.json``.
    """
    columns = columns_or_criteo(columns)
    sizes = load_counts(folder, columns)
    described = {}
    for split in splits or SPLITS:
        info = splits[split] if splits else _read_split(folder / split_file_name(split), columns)
        described[split] = {
            "records": info.records,
            "positives": info.positives,
            "label_rate": (info.positives or 0) / info.records,
            "checksum": info.checksum,
        }
    dictionaries = known_dictionaries or DictionaryChecksums.of_folder(sizes, folder, columns)
    contents = {
        "format": FORMAT,
        "created_by": created_by,
        "columns": columns.statement(),
        **({"max_ind_range": max_ind_range} if columns.has_hex_vocabulary else {}),
        "table_sizes": list(sizes),
        "fingerprint": dictionaries.fingerprint,
        "dictionaries": list(dictionaries.tables),
        "splits": described,
        "best_possible_auroc": dict(best_possible_auroc or {}),
    }
    text = json.dumps(contents | dict(extra or {}), indent=2) + "\n"
    (folder / DESCRIPTION_NAME).write_text(text, encoding="utf-8")
    return DatasetFolder.open(folder)


def _read_split(path: Path, columns: Columns) -> SplitInfo:
    """Count the rows and clicks of a file, and write the digests of its blocks."""
    records, checksum = open_records(path, columns), file_checksum(path, block_bytes(columns))
    digests_path(path).write_bytes(checksum.digests())
    return SplitInfo(len(records), int(np.count_nonzero(records[:, LABEL])), checksum.text())


def recognize_dataset(folder: Path) -> FinishedOutput | None:
    """Return what a folder that ``preprocess`` or ``synthesize`` wrote says of itself; None for other folders."""
    contents = object_with(folder / DESCRIPTION_NAME, "created_by")
    if contents is None:
        return recognize_days(folder)
    files = [Path(split_file_name(split)) for split in SPLITS]
    names = [path.name for file in files for path in (file, digests_path(file))]
    names += [COUNTS_NAME, *map(dictionary_name, range(_stated_tables(contents))), REJECTED]
    command = str(contents["created_by"])
    settings = object_in(contents, "synthetic" if command == "synthesize" else command)
    return FinishedOutput("a dataset", command, settings, (*names, DESCRIPTION_NAME))


def _stated_tables(contents: Mapping[str, Any]) -> int:
    sizes = contents.get("table_sizes")
    return len(sizes) if isinstance(sizes, list) else Columns.criteo().num_sparse
