"""The loss of AUROC that each op and table causes alone, in one pass over the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.model.dlrm import DLRM, clamp_logits
from dlrm_pl.model.embeddings import split_bags
from dlrm_pl.model.interaction import cat_interaction, dot_interaction
from dlrm_pl.quantization.calibration import ActivationRanges
from dlrm_pl.quantization.evaluation import check_finite
from dlrm_pl.quantization.post_training import quantize, tables_of
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.tables import TablePacker, pack_table
from dlrm_pl.quantization.tuning_rows import TuningRows
from dlrm_pl.runtime.tables import TABLE_DTYPES

Change = tuple[str, str]
"""An op and the dtype that it alone has, all others being fp32."""


@dataclass(frozen=True)
class Sensitivity:
    """What one change costs.

    Attributes:
        op: that alone is not fp32.
        dtype: that it has.
        loss: of AUROC, fp32 minus changed.
        standard_error: of the loss.
        logit_mse: mean squared difference of the logits; far less noisy than the loss.
        rows: measured on.
    """

    op: str
    dtype: str
    loss: float
    standard_error: float
    logit_mse: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``Sensitivity(**values)`` is the inverse."""
        return asdict(self)


@dataclass(frozen=True)
class _Block:
    """What the changes of one batch share: memory is that of one batch of fp32 activations."""

    batch: ClickBatch
    dense: Tensor
    sparse: Tensor
    interacted: Tensor


Scorer = Callable[[_Block], Tensor]


def measure_sensitivities(
    model: DLRM,
    rows: TuningRows,
    changes: Sequence[Change],
    *,
    max_rows: int,
    recipe: Recipe,
    ranges: ActivationRanges,
    packer: TablePacker,
) -> list[Sensitivity]:
    """Score the fp32 model with each change alone.

    For each batch the bottom MLP and the lookups run once in fp32. A table's change packs only the rows that the batch
    looked up and replaces one column of the lookups; a Linear's change runs from that Linear's MLP on.

    Args:
        model: float; not changed.
        rows: tuning rows, whose fp32 probabilities are shared.
        changes: what to measure.
        max_rows: at most so many rows are read, in whole batches.
        recipe: whose observer, scheme and granularity the Linears have.
        ranges: of the activations.
        packer: of the model's tables; used for the interaction alone.

    Returns:
        In the order of the changes.

    Raises:
        ConfigurationError: no such op, or not in that dtype.
        MetricError: the rows hold a single class.
    """
    scorers = [_scorer(model, op, dtype, recipe, ranges, packer) for op, dtype in changes]
    scores: list[list[npt.NDArray[np.float32]]] = [[] for _ in changes]
    squares = [0.0] * len(changes)
    read = 0
    with torch.inference_mode():
        for batch in rows.batches():
            rows.score_fp32(batch, read)
            block = _block(model, batch)
            fp32 = _finish(model, block.interacted)
            for index, scorer in enumerate(scorers):
                logits = scorer(block)
                squares[index] += float((logits - fp32).double().square().sum())
                scores[index].append(check_finite(torch.sigmoid(logits).float(), read).numpy())
            read += batch.num_samples
            if read >= max_rows:
                break
    labels, baseline = rows.labels(read), rows.fp32(read)
    result = []
    for (op, dtype), parts, square in zip(changes, scores, squares, strict=True):
        difference = paired_auroc_difference(baseline, np.concatenate(parts), labels)
        loss, error = difference.difference, difference.standard_error
        result.append(Sensitivity(op, dtype, loss, error, square / read, read))
    return result


def _scorer(model: DLRM, op: str, dtype: str, recipe: Recipe, ranges: ActivationRanges, packer: TablePacker) -> Scorer:
    """What scores a block with one change."""
    alone = replace(
        Recipe.all_float(model.architecture),
        observer=recipe.observer,
        activation_scheme=recipe.activation_scheme,
        weight_granularity=recipe.weight_granularity,
        bias_correction=False,  # A shift of all logits is no loss of this op's.
    ).with_dtype(op, dtype)
    part, _, index = op.partition(".")
    if part == "tables":
        return lambda block: _finish(model, _interact(model, block.dense, _repacked(model, block, int(index), dtype)))
    changed = quantize(model, alone, ranges, packer)
    if part == "interaction":
        return lambda block: changed.top(changed.interact(block.dense, block.batch.indices, block.batch.offsets))
    if part == "bottom_mlp":
        return lambda block: _finish(model, _interact(model, changed.bottom(block.batch.dense), block.sparse))
    return lambda block: changed.top(block.interacted)


def _block(model: DLRM, batch: ClickBatch) -> _Block:
    dense = model.bottom_mlp(batch.dense)
    sparse = model.embedding_bags(batch.indices, batch.offsets)
    return _Block(batch, dense, sparse, _interact(model, dense, sparse))


def _interact(model: DLRM, dense: Tensor, sparse: Tensor) -> Tensor:
    if model.architecture.interaction == "cat":
        return cat_interaction(dense, sparse)
    return dot_interaction(dense, sparse, model.architecture.self_interaction)


def _finish(model: DLRM, interacted: Tensor) -> Tensor:
    """Logits, float32 ``[B]``."""
    logits: Tensor = model.top_mlp(interacted).squeeze(1)
    return clamp_logits(logits, model.architecture.loss_threshold)


def _repacked(model: DLRM, block: _Block, table: int, dtype: str) -> Tensor:
    """The lookups with one table's rows packed: ``[B, T, D]``. Only the rows that the batch looks up are."""
    assert dtype in TABLE_DTYPES
    batch, dim = block.batch, model.architecture.embedding_dim
    weight = tables_of(model)[table]
    if batch.offsets is None:
        indices, offsets = batch.indices[table], None
    else:
        indices, starts = split_bags(batch.indices, batch.offsets, model.architecture.num_tables)[table]
        offsets = torch.cat([starts, starts.new_tensor([len(indices)])])
    packed = pack_table(weight[indices], dtype, f"table {table}")
    local = torch.arange(len(indices))
    column = ops.lookup(
        local if offsets is not None else local.unsqueeze(0),
        *(offsets, [packed], [TABLE_DTYPES.index(dtype)], dim, batch.num_samples),
    )
    changed = block.sparse.clone()
    changed[:, table] = column[:, 0]
    return changed
