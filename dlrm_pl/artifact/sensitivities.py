"""What each op and table costs in AUROC, as far as the search found it out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dlrm_pl.quantization.search.trial import Trial


@dataclass(frozen=True)
class OpLoss:
    """The loss of one op in one dtype.

    Attributes:
        op: as in ``Recipe.ops``.
        dtype: that the loss is of.
        loss: of the score; negative where the op is better than in floats.
        standard_error: of the loss; None where it is not known.
    """

    op: str
    dtype: str
    loss: float
    standard_error: float | None = None


@dataclass(frozen=True)
class OpLosses:
    """The losses by op, and where they come from.

    Attributes:
        losses: in the order of the ops; empty when nothing was measured.
        source: in words.
    """

    losses: tuple[OpLoss, ...]
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def found_in(cls, notes: Mapping[str, Any], trials: Sequence[Trial]) -> OpLosses:
        """Take what the strategy measured of each op alone, or else what its trials tell.

        Args:
            notes: that the strategy remembered: a list of measurements with ``op`` and ``loss``, or a loss by op.
            trials: of the search, the first of them the start.
        """
        for note in notes.values():
            if losses := _measured(note):
                return cls(losses, "each op alone quantized, all others fp32, on the same tuning rows")
        if losses := _told_by(trials):
            return cls(losses, "the loss of the first recipe, less that of the recipe with this op alone in floats")
        return cls((), "not measured: this search tried no recipe that differs from the first in one op alone")


def _measured(note: Any) -> tuple[OpLoss, ...]:
    """The losses of a note; empty when it is about something else."""
    if isinstance(note, Mapping):
        if not note or not all(isinstance(loss, float | int) for loss in note.values()):
            return ()
        return tuple(OpLoss(op, "", float(loss)) for op, loss in note.items())
    if not isinstance(note, list):
        return ()
    found = []
    for entry in note:
        if not isinstance(entry, Mapping) or not {"op", "loss"} <= set(entry):
            return ()
        found.append(OpLoss(entry["op"], entry.get("dtype", ""), entry["loss"], entry.get("standard_error")))
    return tuple(found)


def _told_by(trials: Sequence[Trial]) -> tuple[OpLoss, ...]:
    """What the start gains by each op alone in another dtype; the best of them where there are several."""
    if not trials or not math.isfinite(trials[0].loss):
        return ()
    start = trials[0]
    best: dict[str, float] = {}
    for trial in trials[1:]:
        changed = [op for op, dtype in trial.recipe.ops.items() if start.recipe.ops[op] != dtype]
        if (
            len(changed) == 1
            and math.isfinite(trial.loss)
            and start.recipe.with_dtype(changed[0], trial.recipe.ops[changed[0]]) == trial.recipe
        ):
            best[changed[0]] = max(best.get(changed[0], -math.inf), start.loss - trial.loss)
    return tuple(OpLoss(op, dtype, best[op]) for op, dtype in start.recipe.ops.items() if op in best)
