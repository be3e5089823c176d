"""Columns and dictionaries of a dataset in one file, which accompanies a model that reads raw values.

It is a safetensors file. An integer or hex table has ``{t}.values``, int64; a string table has ``{t}.offsets`` and
``{t}.data``; tables with hashes or remainders as ids have nothing. The metadata states the columns and the modulus of
hex values.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.category_values import Values, from_zero
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import Vocabulary, checked_texts
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.documents.fields import make
from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import ArtifactError, ConfigurationError, DataFormatError

VOCABULARY_NAME = "vocabulary.safetensors"
_ENTRY = "dlrm_pl"
_FORMAT = 1
_DTYPES = {"I64": np.dtype("<i8"), "U8": np.dtype(np.uint8)}
_ADVICE = "Copy the artifact again, or quantize again."

_Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Stated:
    """The entry of the metadata."""

    format: int
    columns: dict[str, Any]
    max_ind_range: int


def save_encoder(encoder: RowEncoder, path: Path) -> None:
    """Write the columns and the vocabulary of an encoder.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for table, values in enumerate(encoder.vocabulary.values):
        if isinstance(values, Strings):
            offsets, data = from_zero(values)
            arrays |= {f"{table}.offsets": offsets, f"{table}.data": data}
        elif values is not None:
            arrays[f"{table}.values"] = values
    stated = {"format": _FORMAT, "columns": encoder.columns.statement(), "max_ind_range": encoder.max_ind_range}
    names = {dtype: name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {_ENTRY: json.dumps(stated)}}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # Aligns the arrays of int64.
    with path.open("wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            handle.write(np.ascontiguousarray(array).data)


def load_encoder(path: Path) -> RowEncoder:
    """Read what ``save_encoder`` wrote.

    Raises:
        ArtifactError: the file is missing or damaged; the message names it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as handle:
            metadata = handle.metadata() or {}
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot be read ({str(error)[:200]}). {_ADVICE}") from error
    where = f"{path}: its metadata"
    entry = parse_json(metadata.get(_ENTRY, "null"), where, ArtifactError, _ADVICE)
    stated = make(_Stated, entry, where, ArtifactError, _ADVICE)
    if stated.format != _FORMAT:
        raise ArtifactError(f"{path}: format {stated.format}; this version reads format {_FORMAT}. Quantize again.")
    columns = Columns.of_statement(stated.columns, where, ArtifactError, _ADVICE)
    tables = [
        _values(path, arrays, table, column.kind == "string") if column.ids == "vocabulary" else None
        for table, column in enumerate(columns.sparse)
    ]
    try:
        return RowEncoder(columns, Vocabulary(tables, columns), stated.max_ind_range)
    except ConfigurationError as error:
        raise ArtifactError(f"{path}: {error} {_ADVICE}") from error


def _values(path: Path, arrays: _Arrays, table: int, are_texts: bool) -> Values:
    if not are_texts:
        return _array(path, arrays, f"{table}.values", "I64")
    texts = Strings(_array(path, arrays, f"{table}.offsets", "I64"), _array(path, arrays, f"{table}.data", "U8"))
    try:
        return checked_texts(texts, path)
    except DataFormatError as error:
        raise ArtifactError(f"{error} {_ADVICE}") from error


def _array(path: Path, arrays: _Arrays, name: str, dtype: str) -> npt.NDArray[Any]:
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype != _DTYPES[dtype]:
        found = "missing" if array is None else f"{array.dtype} {list(array.shape)}"
        raise ArtifactError(f"{path}: {name} is {found}, but must be a list of {_DTYPES[dtype]}. {_ADVICE}")
    return array
