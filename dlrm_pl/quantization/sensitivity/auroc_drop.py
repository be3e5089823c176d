"""AUROC drop that each op and table causes alone, measured in one pass over the rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import NonFiniteError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.model.dlrm import DLRM, clamp_logits
from dlrm_pl.model.embeddings import split_bags
from dlrm_pl.model.interaction import interact
from dlrm_pl.quantization.failure import SLIPS, describe_failure
from dlrm_pl.quantization.judging.evaluation import check_finite
from dlrm_pl.quantization.judging.tuning_rows import TuningRows
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import bags_of, quantize
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.runtime.tables import TABLE_DTYPES, TableDtype

log = logging.getLogger(__name__)

Change = tuple[str, str]
"""An op and a dtype for it; all other ops stay in fp32."""


@dataclass(frozen=True)
class Sensitivity:
    """AUROC drop that one change causes alone.

    Attributes:
        op: name of the only op that is not fp32.
        dtype: dtype of this op.
        drop: AUROC drop, fp32 minus changed.
        standard_error: standard error of the drop.
        logit_mse: mean squared difference of the logits; far less noisy than the drop.
        rows: number of rows that were scored.
    """

    op: str
    dtype: str
    drop: float
    standard_error: float
    logit_mse: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types; ``Sensitivity(**values)`` is the inverse."""
        return asdict(self)


@dataclass(frozen=True)
class _Block:
    """Activations of one batch that all changes share, in fp32."""

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
        model: float model; not changed.
        rows: tuning rows, whose fp32 logits are shared.
        changes: changes to measure.
        max_rows: number of rows to stop after, at the end of a batch.
        recipe: recipe with the observer, scheme and granularity of the Linears.
        ranges: ranges of the activations.
        packer: packer of the model's tables; used for the interaction only.

    Returns:
        Sensitivities in the order of the changes. A change without finite scores counts as a drop of 1, the largest.

    Raises:
        ConfigurationError: there is no such op, or it is not available in that dtype.
        MetricError: all rows have the same label.
    """
    scorers: list[Scorer | None] = []
    for op, dtype in changes:
        try:
            scorers.append(_scorer(model, op, dtype, recipe, ranges, packer))
        except SLIPS as slip:
            log.warning("%s in %s cannot be measured: %s", op, dtype, describe_failure(slip))
            scorers.append(None)
    scores: list[list[npt.NDArray[np.float32]]] = [[] for _ in changes]
    squares = [0.0] * len(changes)
    impossible = {index for index, scorer in enumerate(scorers) if scorer is None}
    read = 0
    with torch.inference_mode():
        for batch in rows.batches():
            rows.score_fp32(batch, read)
            block = _block(model, batch)
            fp32 = _finish(model, block.interacted)
            for index, scorer in enumerate(scorers):
                if scorer is None or index in impossible:
                    continue
                try:
                    logits = scorer(block)
                    scores[index].append(check_finite(logits.float(), read).numpy())
                except NonFiniteError:  # For example, a value is beyond fp16: only this change cannot be made.
                    impossible.add(index)
                    continue
                squares[index] += float((logits - fp32).double().square().sum())
            read += batch.num_samples
            if read >= max_rows:
                break
    labels, baseline = rows.labels(read), rows.fp32(read)
    result = []
    for index, ((op, dtype), parts, square) in enumerate(zip(changes, scores, squares, strict=True)):
        if index in impossible:
            result.append(Sensitivity(op, dtype, 1.0, 0.0, 0.0, read))
            continue
        difference = paired_auroc_difference(baseline, np.concatenate(parts), labels)
        drop, error = difference.difference, difference.standard_error
        result.append(Sensitivity(op, dtype, drop, error, square / read, read))
    return result


def _scorer(model: DLRM, op: str, dtype: str, recipe: Recipe, ranges: ActivationRanges, packer: TablePacker) -> Scorer:
    """Function that scores a block with one change."""
    # Without bias correction: a shift of all logits is not a drop caused by this op.
    alone = replace(recipe.alone(op, dtype), bias_correction=False)
    part, _, index = op.partition(".")
    if part == "tables":
        assert dtype in TABLE_DTYPES
        return lambda block: _finish(model, model.combine(block.dense, _repacked(model, block, int(index), dtype)))
    changed = quantize(model, alone, ranges, packer)
    if part == "interaction":
        return lambda block: changed.top(changed.interact(block.dense, block.batch.indices, block.batch.offsets))
    if part == "bottom_mlp":
        return lambda block: _finish(model, model.combine(changed.bottom(block.batch.dense), block.sparse))
    if part == "cross_net":
        return lambda block: _finish(model, changed.cross(interact(block.dense, block.sparse, model.architecture)))
    return lambda block: changed.top(block.interacted)


def _block(model: DLRM, batch: ClickBatch) -> _Block:
    dense = model.bottom_mlp(batch.dense)
    sparse = model.embedding_bags(batch.indices, batch.offsets)
    return _Block(batch, dense, sparse, model.combine(dense, sparse))


def _finish(model: DLRM, interacted: Tensor) -> Tensor:
    """Logits, float32 ``[B]``."""
    logits: Tensor = model.top_mlp(interacted).squeeze(1)
    return clamp_logits(logits, model.architecture.loss_threshold)


def _repacked(model: DLRM, block: _Block, table: int, dtype: TableDtype) -> Tensor:
    """Pooled embeddings ``[B, T, D]`` with one table packed, of which only the rows that the batch looks up are."""
    batch, dim = block.batch, model.architecture.embedding_dim
    offsets = None
    values = block.sparse[:, table]  # For bags of one row, the rows themselves.
    if batch.offsets is not None:
        indices, starts = split_bags(batch.indices, batch.offsets, model.architecture.num_tables)[table]
        offsets = torch.cat([starts, starts.new_tensor([len(indices)])])
        values = bags_of(model).rows(indices, table)
    packed = TablePacker([values], allow_nonfinite=True).packed([dtype])[0]  # NaN is 0 already, or was refused.
    positions = torch.arange(len(values))
    column = ops.lookup(
        positions if offsets is not None else positions.unsqueeze(0),
        offsets,
        [packed],
        [TABLE_DTYPES.index(dtype)],
        dim,
        batch.num_samples,
        [model.architecture.is_mean[table]],
    )
    changed = block.sparse.clone()
    changed[:, table] = column[:, 0]
    return changed
