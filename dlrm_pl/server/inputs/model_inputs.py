"""Describe a model's inputs to clients, and convert a request to a batch."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns, nearest_name
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.server.inputs.few_fields import FEW_ROWS
from dlrm_pl.server.inputs.fields import FieldInputs
from dlrm_pl.server.inputs.tensors import DENSE, INDICES, OFFSETS, TensorInputs, UnreadRows
from dlrm_pl.server.protocol.errors import RequestError
from dlrm_pl.server.protocol.requests import InferenceRequest

log = logging.getLogger(__name__)


class ParsedRows(NamedTuple):
    """Rows of a request.

    Attributes:
        batch: the rows.
        unseen: number of values that are not in the vocabulary.
    """

    batch: ClickBatch | UnreadRows
    unseen: int = 0


class ModelInputs:
    """Inputs of an artifact's model, as tensors of ids or as raw values.

    Args:
        artifact: the artifact; the constructor reads its dictionaries.

    Raises:
        ArtifactError: the dictionaries are damaged or do not belong to the model.
    """

    def __init__(self, artifact: Artifact) -> None:
        architecture = artifact.model.architecture
        self.columns: Columns | None = artifact.columns
        self._tensors = TensorInputs(architecture.bottom_mlp[0], architecture.table_sizes, self.columns)
        self._fields: FieldInputs | None = None
        self._no_fields = ""
        try:
            encoder: RowEncoder = artifact.encoder
        except ConfigurationError:
            self._no_fields = (
                "The model takes only dense and indices: its artifact has no vocabulary that maps raw values to ids. "
                "Quantize with --with_vocabulary to send raw values."
            )
            return
        try:
            arrow()  # Import Arrow now, because that takes too long for a request.
        except ConfigurationError as error:
            self._no_fields = f"The server takes only dense and indices. {error}"
            log.warning(
                "%s: requests with raw values will be refused, because the library that reads them is missing. %s",
                artifact.path,
                error,
            )
        else:
            self._fields = FieldInputs(encoder)

    @property
    def takes_fields(self) -> bool:
        """Whether rows may be given as raw values by column name."""
        return self._fields is not None

    @property
    def schema(self) -> dict[str, Any]:
        """What a client must know to send rows; a model with another schema cannot replace this one."""
        return {"inputs": self._tensors.metadata(), "fields": self._fields.metadata() if self._fields else []}

    def takes_long(self, request: InferenceRequest) -> bool:
        """Return whether ``rows`` takes milliseconds, which would block the event loop: for many rows of raw values."""
        if self._fields is None or DENSE in request.inputs:
            return False
        return any(tensor.values.size > FEW_ROWS for tensor in request.inputs.values())

    def rows(self, request: InferenceRequest, max_rows: int) -> ParsedRows:
        """Return the rows of a request.

        Args:
            request: the request.
            max_rows: maximum number of rows.

        Raises:
            RequestError: an input is missing, unknown, of the wrong type or shape, or has invalid values.
        """
        inputs = request.inputs
        if inputs.keys() <= {DENSE, INDICES, OFFSETS}:
            return ParsedRows(self._tensors.batch(inputs, max_rows))
        if DENSE in inputs or INDICES in inputs:
            strange = next(name for name in inputs if name not in (DENSE, INDICES, OFFSETS))
            raise RequestError(
                400, f"There is no input {shown(strange)}. {nearest_name(strange, (DENSE, INDICES, OFFSETS))}"
            )
        if self._fields is None:
            raise RequestError(400, f"There is no input {shown(next(iter(inputs)))}. {self._no_fields}")
        batch, unseen = self._fields.batch(inputs, max_rows)
        return ParsedRows(batch, int(np.sum(unseen)))
