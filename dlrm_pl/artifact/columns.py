"""Columns stated by an artifact, and whether they fit its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.columns.difference import difference
from dlrm_pl.errors import ArtifactError, ConfigurationError
from dlrm_pl.model.architecture import Architecture

if TYPE_CHECKING:
    from dlrm_pl.data.formats.row_encoder import RowEncoder


def stated_columns(statement: Mapping[str, Any], architecture: Architecture, where: str) -> Columns | None:
    """Return the columns of the rows that an artifact's model scores.

    Args:
        statement: what the manifest states. It is empty in artifacts of earlier versions, which have Criteo's columns
            if the model has as many, and in artifacts of models that were made without columns.
        architecture: shape of the model.
        where: place of the statement, with which messages begin.

    Returns:
        The columns; None if unknown.

    Raises:
        ArtifactError: the statement is damaged, or does not fit the model; the message names the value.
    """
    if not statement:
        criteo = Columns.criteo()
        return None if architecture.misfit(criteo) else criteo
    columns = Columns.of_statement(statement, f"{where}: columns", ArtifactError, "Quantize again.")
    if wrong := architecture.misfit(columns):
        raise ArtifactError(f"{where}: {wrong}. One of the two files was changed after it was written; quantize again.")
    return columns


def check_encoder(encoder: RowEncoder, columns: Columns | None, architecture: Architecture) -> None:
    """Check that dictionaries give the ids that a model expects.

    Raises:
        ConfigurationError: they belong to other columns, or have other sizes; the message names the first difference.
    """
    if columns is None:
        raise ConfigurationError("The model's columns are not known, so its artifact cannot hold dictionaries.")
    if other := difference("the dictionaries", encoder.columns, "the model", columns):
        raise ConfigurationError(f"The dictionaries do not belong to the model: {other}.")
    for table, (size, rows) in enumerate(zip(encoder.vocabulary.sizes, architecture.table_sizes, strict=True)):
        if size != rows:
            raise ConfigurationError(
                f"The dictionaries do not belong to the model: table {table} has {rows:,} rows, and its dictionary "
                f"{size:,} values."
            )
