"""One batch of the rows of several requests."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dlrm_pl.batch import ClickBatch


def merged(batches: Sequence[ClickBatch]) -> ClickBatch:
    """Return the rows of batches, one after the other; all are one-hot, or all have bags."""
    if len(batches) == 1:
        return batches[0]
    dense = torch.cat([batch.dense for batch in batches])
    if batches[0].offsets is None:
        return ClickBatch(dense, torch.cat([batch.indices for batch in batches], dim=1))
    parts, lengths = [], []
    tables = (len(batches[0].offsets) - 1) // max(batches[0].num_samples, 1)
    bounds = []
    for batch in batches:
        assert batch.offsets is not None
        lengths.append(batch.offsets.diff().view(tables, -1))
        bounds.append(batch.offsets[:: batch.num_samples].tolist())
    for table in range(tables):
        parts += [
            batch.indices[starts[table] : starts[table + 1]] for batch, starts in zip(batches, bounds, strict=True)
        ]
    ends = torch.cat(lengths, dim=1).flatten().cumsum(0)
    return ClickBatch(dense, torch.cat(parts), torch.cat([ends.new_zeros(1), ends]))
