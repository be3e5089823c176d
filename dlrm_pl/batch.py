"""ClickBatch, which data and model share, and the legend of shapes.

Shape letters in docstrings and comments, everywhere in the package:

* ``B``: samples in a batch
* ``N``: dense features
* ``T``: embedding tables, one for each sparse feature
* ``D``: embedding dimension
* ``F = T + 1``: interacting vectors, the bottom MLP's output and one embedding for each table
* ``L``: lookups in a multi-hot batch, over all its bags
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, Records
from dlrm_pl.data.formats.model_inputs import dense_inputs, lookups
from dlrm_pl.errors import ConfigurationError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor


class ClickBatch(NamedTuple):
    """One batch of click samples: a tuple, which Lightning can move to a device and pin.

    The constructor takes tensors as they are and checks nothing. ``from_arrays``, ``from_frame`` and ``from_kjt``
    convert and check.

    Attributes:
        dense: transformed dense features (``log(x + 1)`` for Criteo's logs), float32 ``[B, N]``.
        indices: table rows to look up, int64. One-hot: ``[T, B]``, contiguous. Multi-hot: ``[L]``, all bags of table 0
            first, then those of table 1, and so on.
        offsets: None for one-hot; else int64 ``[T * B + 1]``: bag ``t * B + b`` holds
            ``indices[offsets[t * B + b] : offsets[t * B + b + 1]]`` (the layout of TorchRec's KeyedJaggedTensor).
        labels: 0 or 1, float32 ``[B]``; None if they are unknown, as in prediction.

    Example:
        >>> import torch
        >>> from dlrm_pl import ClickBatch
        >>> batch = ClickBatch(torch.zeros(4, 13), torch.zeros(26, 4, dtype=torch.int64))
        >>> batch.num_samples
        4
    """

    dense: Tensor
    indices: Tensor
    offsets: Tensor | None = None
    labels: Tensor | None = None

    @property
    def num_samples(self) -> int:
        """Number of samples B."""
        return self.dense.shape[0]

    @property
    def known_labels(self) -> Tensor:
        """Labels of a batch that must have them.

        Raises:
            ShapeError: the batch has none.
        """
        if self.labels is None:
            raise ShapeError("The batch has no labels, which training and scoring need; predict() works without them.")
        return self.labels

    @classmethod
    def from_arrays(
        cls, dense: Any, sparse: Any, labels: Any = None, *, columns: Columns | None = None, take_log: bool = True
    ) -> Self:
        """Make a one-hot batch from arrays or tensors of any integer or float type.

        Args:
            dense: values of the dense features, ``[B, N]``.
            sparse: category ids, ``[B, T]``: integers, as the dataset's dictionaries assign them.
            labels: 0 or 1, ``[B]``; None if they are unknown.
            columns: columns that the values belong to; their transforms are applied to ``dense``. A missing value (NaN)
                is replaced as in preprocessing. None: ``take_log`` decides.
            take_log: ``dense`` holds raw counts from the log. Missing (NaN) and negative values become 0, as in
                preprocessing, and ``log(x + 1)`` is taken. False: the logarithm was already taken.

        Raises:
            ShapeError: the arrays have wrong shapes, or differ in B.
            ConfigurationError: ids are not integers, or labels are not 0 and 1.

        Example:
            >>> import numpy as np
            >>> from dlrm_pl import ClickBatch
            >>> batch = ClickBatch.from_arrays(np.ones((2, 13)), np.zeros((2, 26), dtype=np.uint8))
            >>> batch.dense.dtype, batch.indices.shape
            (torch.float32, torch.Size([26, 2]))
        """
        from dlrm_pl.arrays import dense_tensor, id_tensor, label_tensor

        indices = id_tensor(sparse)
        inputs = dense_tensor(dense, columns, take_log)
        batch = cls(inputs, indices, None, None if labels is None else label_tensor(labels))
        if batch.num_samples != indices.shape[1]:
            raise ShapeError(
                f"dense has {batch.num_samples} rows and sparse has {indices.shape[1]}, but both must have one row "
                "per sample: [B, N] and [B, T]."
            )
        return batch._with_checked_labels()

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        source: Any = None,
        *,
        truncate_lists: bool = False,
        num_dense: int | None = None,
        num_sparse: int | None = None,
    ) -> Self:
        """Make a batch from a pandas, polars or Arrow frame, or a dict of columns.

        With ``source``, the frame holds raw values (numbers, strings and lists, as in a log) in columns with the names
        that the source states. The source's vocabulary turns them into ids; values that it does not contain are treated
        as in ``predict --raw``. The label column is read if there is one; other columns are ignored.

        Without ``source``, the frame holds only numbers: ``I1``, ``I2`` and so on are counts from the log, ``C1``,
        ``C2`` and so on are category ids, as the dataset's dictionaries assign them, and ``label`` may be missing.

        Args:
            frame: a frame, or a mapping of names to arrays; with ``source``, also any object with
                ``__arrow_c_stream__``. Values are not copied if their types allow it.
            source: object that has the vocabulary: a ``DatasetFolder``, an ``Artifact`` or a ``Predictor``; or the path
                of a dataset folder or an artifact. An object's dictionaries are read once, those at a path in each
                call.
            truncate_lists: with ``source``, whether to cut lists that are longer than their column allows instead of
                refusing them.
            num_dense: without ``source``, number of ``I...`` columns; None: as many as Criteo's logs have.
            num_sparse: without ``source``, number of ``C...`` columns; None: as many as Criteo's logs have.

        Raises:
            ConfigurationError: a column is missing, or does not hold numbers, or ids that are not integers; or the
                artifact needs a vocabulary and has none.
            DataFormatError: with ``source``, a column is missing or of another type, a value does not fit it, or some
                labels are null and others are not.

        Example:
            >>> from dlrm_pl import ClickBatch
            >>> frame = {"I1": [3, 0], "C1": [5, 6], "C2": [0, 1], "label": [1, 0]}
            >>> ClickBatch.from_frame(frame, num_dense=1, num_sparse=2).indices
            tensor([[5, 6],
                    [0, 1]])
            >>> raw = {f"I{n}": [3, 0] for n in range(1, 14)} | {f"C{n}": ["68fd1e64", "0"] for n in range(1, 27)}
            >>> ClickBatch.from_frame(raw, "datasets/quickstart").indices.shape
            torch.Size([26, 2])
        """
        if source is not None:
            if num_dense is not None or num_sparse is not None:
                raise ConfigurationError(
                    "num_dense and num_sparse are for frames of ids only: with source, the columns are known."
                )
            return cls._from_raw(frame, source, truncate_lists)
        import numpy as np

        from dlrm_pl.arrays import column_names, frame_column

        criteo = Columns.criteo()
        dense_numbers = range(1, 1 + (criteo.num_dense if num_dense is None else num_dense))
        sparse_numbers = range(1, 1 + (criteo.num_sparse if num_sparse is None else num_sparse))
        dense = [frame_column(frame, f"I{number}") for number in dense_numbers]
        sparse = [frame_column(frame, f"C{number}", ids=True) for number in sparse_numbers]
        labels = frame_column(frame, "label") if "label" in column_names(frame) else None
        return cls.from_arrays(np.stack(dense, axis=1), np.stack(sparse, axis=1), labels)

    @classmethod
    def _from_raw(cls, frame: Any, source: Any, truncate_lists: bool) -> Self:
        """Make a batch from a frame of raw values."""
        from dlrm_pl.data.encoding.encoders import encoder_of
        from dlrm_pl.data.encoding.frames import records_of_frame

        encoder = encoder_of(source)
        records, labelled = records_of_frame(frame, encoder, truncate_lists=truncate_lists)
        batch = to_batch(records, encoder.columns)
        return cls(batch.dense, batch.indices, batch.offsets, batch.labels if labelled else None)

    @classmethod
    def from_kjt(
        cls, dense: Any, sparse: Any, labels: Any = None, *, columns: Columns | None = None, take_log: bool = True
    ) -> Self:
        """Make a multi-hot batch from dense features and a TorchRec KeyedJaggedTensor, which has the same layout.

        Args:
            dense: values of the dense features, ``[B, N]``.
            sparse: any object with the methods ``keys()``, ``values()`` and ``offsets()`` of a KeyedJaggedTensor. Its
                keys are in the order of the tables.
            labels: 0 or 1, ``[B]``; None if they are unknown.
            columns: as in ``from_arrays``.
            take_log: as in ``from_arrays``.

        Raises:
            ShapeError: the number of offsets does not fit the number of samples in ``dense``.
            ConfigurationError: the bags are weighted, which DLRM does not support, or values have the wrong type.
        """
        from dlrm_pl.arrays import dense_tensor, label_tensor

        if getattr(sparse, "weights_or_none", lambda: None)() is not None:
            raise ConfigurationError("The KeyedJaggedTensor has weights, but DLRM pools bags without weights.")
        offsets = sparse.offsets().long()
        batch = cls(
            dense_tensor(dense, columns, take_log),
            sparse.values().long(),
            offsets,
            None if labels is None else label_tensor(labels),
        )
        needed = len(sparse.keys()) * batch.num_samples + 1
        if offsets.numel() != needed:
            raise ShapeError(
                f"The KeyedJaggedTensor has {offsets.numel()} offsets, but {len(sparse.keys())} keys and "
                f"{batch.num_samples} rows of dense require {needed}."
            )
        return batch._with_checked_labels()

    def _with_checked_labels(self) -> Self:
        if self.labels is not None and len(self.labels) != self.num_samples:
            raise ShapeError(f"There are {len(self.labels)} labels for {self.num_samples} samples.")
        return self


def to_batch(records: Records, columns: Columns) -> ClickBatch:
    """Return records as a batch, which is multi-hot if a column has lists; nothing is checked.

    Args:
        records: int32 ``[B, record_ints]``.
        columns: columns of the records; with ``standardize``, their mean and deviation must be known.
    """
    import numpy as np
    import torch

    indices, offsets = lookups(records[:, columns.sparse_fields], columns)
    return ClickBatch(
        dense=torch.from_numpy(dense_inputs(records[:, columns.dense_fields], columns)),
        indices=torch.from_numpy(indices),
        offsets=None if offsets is None else torch.from_numpy(offsets),
        labels=torch.from_numpy(records[:, LABEL].astype(np.float32)),
    )


def first_samples(batch: ClickBatch, count: int) -> ClickBatch:
    """Return the first samples of a batch, one-hot or multi-hot."""
    labels = None if batch.labels is None else batch.labels[:count]
    if batch.offsets is None:
        return ClickBatch(batch.dense[:count], batch.indices[:, :count].contiguous(), None, labels)
    size = batch.num_samples
    lengths = batch.offsets.diff().view(-1, size)
    # For each table, a mask over all lookups that selects those of its first samples.
    kept = (lengths.new_ones(size).cumsum(0) <= count).repeat(len(lengths)).repeat_interleave(lengths.flatten())
    offsets = batch.offsets.new_zeros(len(lengths) * count + 1)
    offsets[1:] = lengths[:, :count].flatten().cumsum(0)
    return ClickBatch(batch.dense[:count], batch.indices[kept], offsets, labels)


def samples(batch: ClickBatch, start: int, stop: int, num_tables: int) -> ClickBatch:
    """Return some samples of a batch; for a one-hot batch, without a copy.

    Args:
        batch: the batch, whose offsets are not checked here.
        start: index of the first sample.
        stop: index after the last sample.
        num_tables: number of tables T.
    """
    import torch

    labels = None if batch.labels is None else batch.labels[start:stop]
    if batch.offsets is None:
        return ClickBatch(batch.dense[start:stop], batch.indices[:, start:stop], None, labels)
    parts, offsets, end = [], [batch.offsets.new_zeros(1)], 0
    for rows, starts in bags_of_tables(batch.indices, batch.offsets, num_tables):
        first, last = int(starts[start]), int(starts[stop])
        parts.append(rows[first:last])
        offsets.append(starts[start + 1 : stop + 1] + (end - first))
        end += last - first
    return ClickBatch(batch.dense[start:stop], torch.cat(parts), torch.cat(offsets), labels)


def pinned(batch: ClickBatch) -> ClickBatch:
    """Return a batch in pinned memory, for a copy to a CUDA device."""
    dense, indices, offsets, labels = batch
    return ClickBatch(
        dense.pin_memory(),
        indices.pin_memory(),
        None if offsets is None else offsets.pin_memory(),
        None if labels is None else labels.pin_memory(),
    )


def bags_of_tables(indices: Tensor, offsets: Tensor, num_tables: int) -> list[tuple[Tensor, Tensor]]:
    """Split the lookups of a multi-hot batch, which are not checked here, by table.

    Args:
        indices: rows of the tables, ``[L]``.
        offsets: starts of the bags, and the end of the last one, ``[T * B + 1]``.
        num_tables: number of tables T.

    Returns:
        For each table, the rows to look up in it, and where the bags begin and end among them, ``[B + 1]``.
    """
    size = (offsets.numel() - 1) // max(num_tables, 1)
    bounds = offsets[::size].tolist() if size else [int(offsets)] * (num_tables + 1)
    return [
        (indices[first:last], offsets[table * size : (table + 1) * size + 1] - first)
        for table, (first, last) in enumerate(pairwise(bounds))
    ]
