"""Conversion of frames with raw values to records."""

from __future__ import annotations

import logging
from typing import Any

from dlrm_pl.data.encoding.unseen import unseen_lines
from dlrm_pl.data.formats.binary_format import Records
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.sources.arrays.table import Labels
from dlrm_pl.data.sources.frame import rows_of_frame

log = logging.getLogger(__name__)


def records_of_frame(
    frame: Any, encoder: RowEncoder, *, labels: Labels = "optional", truncate_lists: bool = False
) -> tuple[Records, bool]:
    """Return the records of a frame with raw values, int32 ``[B, record_ints]``, and whether it has labels.

    Logs a warning if values are not in the vocabulary.

    Args:
        frame: the frame.
        encoder: encoder that turns values into ids.
        labels: ``needed``, ``optional``, or ``absent``: labels are not read, even if the frame has them.
        truncate_lists: whether to cut lists that are longer than their column allows.

    Raises:
        DataFormatError: a column is missing or of the wrong type, or a value is invalid; the message names it.
        ConfigurationError: pyarrow is not installed.
    """
    rows = rows_of_frame(frame, encoder.columns, labels=labels, truncate_lists=truncate_lists)
    records, unseen = encoder.encode_counted(rows)
    if lines := unseen_lines(encoder, unseen):
        log.warning("%s", "; ".join(lines))
    return records, rows.label is not None
