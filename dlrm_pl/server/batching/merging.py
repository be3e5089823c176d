"""Merge the rows of several requests into one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.server.inputs.tensors import UnreadRows

Rows = ClickBatch | UnreadRows


def merged(parts: Sequence[Rows]) -> ClickBatch:
    """Return the rows of requests, one after the other; all are one-hot, or all have bags.

    Raises:
        RequestError: rows that had not been read yet contain an invalid value.
    """
    if len(parts) == 1:
        part = parts[0]
        return part.reader.read(part.dense, part.ids) if isinstance(part, UnreadRows) else part
    unread = [part for part in parts if isinstance(part, UnreadRows)]
    if len(unread) == len(parts):
        return UnreadRows.read(unread)
    batches = [merged([part]) for part in parts]
    dense = torch.cat([batch.dense for batch in batches])
    if batches[0].offsets is None:
        return ClickBatch(dense, torch.cat([batch.indices for batch in batches], dim=1))
    indices, lengths = [], []
    tables = (len(batches[0].offsets) - 1) // max(batches[0].num_samples, 1)
    bounds = []
    for batch in batches:
        assert batch.offsets is not None
        lengths.append(batch.offsets.diff().view(tables, -1))
        bounds.append(batch.offsets[:: batch.num_samples].tolist())
    for table in range(tables):
        indices += [
            batch.indices[starts[table] : starts[table + 1]] for batch, starts in zip(batches, bounds, strict=True)
        ]
    ends = torch.cat(lengths, dim=1).flatten().cumsum(0)
    return ClickBatch(dense, torch.cat(indices), torch.cat([ends.new_zeros(1), ends]))
