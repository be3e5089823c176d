"""Encoder of a dataset folder or an artifact, whichever a caller has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME, load_encoder
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import DictionaryChecksums, Vocabulary
from dlrm_pl.documents.fields import shown
from dlrm_pl.documents.json_text import object_in, read_json
from dlrm_pl.errors import ArtifactError, ConfigurationError

_MANIFEST_NAME = "manifest.json"
_ADVICE = "Quantize again."


def encoder_of(source: Any) -> RowEncoder:
    """Return the encoder of a dataset or an artifact.

    Args:
        source: a ``DatasetFolder``, an ``Artifact`` or ``Predictor``, or the path of a dataset folder or an artifact. A
            path is read again in each call.

    Raises:
        ConfigurationError: the source is something else, or an artifact that needs a vocabulary and has none.
        DatasetError: there is no such folder.
        DataFormatError, ArtifactError: a file is missing or damaged; the message names it.
    """
    if isinstance(source, str | os.PathLike):
        folder = Path(source).expanduser()
        if (folder / _MANIFEST_NAME).is_file():
            return _of_artifact_folder(folder)
        return DatasetFolder.open(folder, rows=False).encoder
    encoder = source if isinstance(source, RowEncoder) else getattr(source, "encoder", None)
    if not isinstance(encoder, RowEncoder):
        raise ConfigurationError(
            f"source={shown(source)} must be a DatasetFolder, an Artifact, or the path of one of them: its "
            "vocabulary maps values to ids."
        )
    return encoder


def artifact_encoder(
    folder: Path, columns: Columns | None, table_sizes: Sequence[int], dataset_fingerprint: str
) -> RowEncoder:
    """Return the encoder of an artifact: from its own dictionaries, or from its columns if they need none.

    Args:
        folder: the artifact folder.
        columns: columns of the artifact; None if they are not known.
        table_sizes: number of rows of each table of its model.
        dataset_fingerprint: fingerprint of the artifact's dataset; empty if it is not known.

    Raises:
        ConfigurationError: the artifact needs dictionaries and has none.
        ArtifactError: its dictionaries are damaged, or do not belong to its model.
    """
    path = folder / VOCABULARY_NAME
    if not path.is_file():
        encoder = encoder_of_columns(columns)
        if encoder is None:
            raise ConfigurationError(
                f"{folder}: holds no dictionaries that map raw values to ids. Give the dataset folder that it was "
                "made from instead, or quantize again with --with_vocabulary."
            )
        return encoder
    encoder = load_encoder(path)
    if encoder.columns != columns:
        raise ArtifactError(f"{path}: its columns are not those in {_MANIFEST_NAME}. {_ADVICE}")
    vocabulary = encoder.vocabulary
    if list(vocabulary.sizes) != list(table_sizes):
        raise ArtifactError(f"{path}: the sizes of its dictionaries differ from those of the model's tables. {_ADVICE}")
    found = DictionaryChecksums.of_tables(vocabulary.sizes, vocabulary.values, encoder.columns).fingerprint
    if dataset_fingerprint and found != dataset_fingerprint:
        raise ArtifactError(
            f"{path}: its dictionaries have the fingerprint {found}, but the model was made for "
            f"{dataset_fingerprint}: the same ids would stand for other categories. {_ADVICE}"
        )
    return encoder


def encoder_of_columns(columns: Columns | None) -> RowEncoder | None:
    """Return an encoder for columns whose ids are all hashes or remainders; None if dictionaries are needed."""
    if columns is None or any(column.ids == "vocabulary" for column in columns.sparse):
        return None
    return RowEncoder(columns, Vocabulary([None] * columns.num_sparse, columns))


def _of_artifact_folder(folder: Path) -> RowEncoder:
    """Return the encoder of an artifact folder without loading its model."""
    path = folder / _MANIFEST_NAME
    manifest = read_json(path, ArtifactError, _ADVICE)
    architecture = object_in(manifest, "architecture") if isinstance(manifest, dict) else None
    sizes = (architecture or {}).get("table_sizes")
    if architecture is None or not isinstance(sizes, list):
        raise ArtifactError(f"{path}: states no architecture. {_ADVICE}")
    statement = object_in(manifest, "columns")
    columns = Columns.of_statement(statement, f"{path}: columns", ArtifactError, _ADVICE) if statement else None
    return artifact_encoder(folder, columns, sizes, str(manifest.get("dataset_fingerprint", "")))
