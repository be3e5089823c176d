"""ClickBatch, the one thing that data and model share, and the shape legend.

Shape letters in docstrings and comments, everywhere in the package:

* ``B``: samples in a batch
* ``N``: dense features (13 in the Criteo logs)
* ``T``: embedding tables, one for each sparse feature (26 in the Criteo logs)
* ``D``: embedding dimension
* ``F = T + 1``: interacting vectors, the bottom MLP's output and one embedding for each table
* ``L``: lookups in a multi-hot batch, over all its bags
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # The light commands read the counts below and must not pay for torch.
    from torch import Tensor

NUM_DENSE = 13
"""Dense features of a Criteo record."""

NUM_SPARSE = 26
"""Sparse features, and so tables, of a Criteo record."""


class ClickBatch(NamedTuple):
    """One batch of click samples; a tuple, so that Lightning moves and pins it without help.

    Attributes:
        dense: ``log(x + 1)`` of the dense features, float32 ``[B, N]``.
        indices: rows of the tables, int64. One-hot: ``[T, B]``, contiguous. Multi-hot: ``[L]``, all bags
            of table 0 first, then those of table 1, and so on.
        offsets: None for one-hot; else int64 ``[T * B + 1]``: bag ``t * B + b`` holds
            ``indices[offsets[t * B + b] : offsets[t * B + b + 1]]`` (the layout of TorchRec's KeyedJaggedTensor).
        labels: 0 or 1, float32 ``[B]``.
    """

    dense: Tensor
    indices: Tensor
    offsets: Tensor | None
    labels: Tensor

    @property
    def num_samples(self) -> int:
        """B."""
        return self.dense.shape[0]


def first_samples(batch: ClickBatch, count: int) -> ClickBatch:
    """The first samples of a batch, one-hot or multi-hot."""
    if batch.offsets is None:
        return ClickBatch(batch.dense[:count], batch.indices[:, :count].contiguous(), None, batch.labels[:count])
    size = batch.num_samples
    lengths = batch.offsets.diff().view(-1, size)
    # Of each table the lookups of its first samples, as a mask over all lookups.
    kept = (lengths.new_ones(size).cumsum(0) <= count).repeat(len(lengths)).repeat_interleave(lengths.flatten())
    offsets = batch.offsets.new_zeros(len(lengths) * count + 1)
    offsets[1:] = lengths[:, :count].flatten().cumsum(0)
    return ClickBatch(batch.dense[:count], batch.indices[kept], offsets, batch.labels[:count])
