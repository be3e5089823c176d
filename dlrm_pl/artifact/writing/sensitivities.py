"""AUROC drop of each op and table, as far as the search measured it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dlrm_pl.quantization.search.trials.trial import Trial


@dataclass(frozen=True)
class Sensitivity:
    """The drop of one op in one dtype.

    Attributes:
        op: name of the op, as in ``Recipe.ops``.
        dtype: dtype that the drop was measured in.
        drop: drop of the score; negative where the quantized op scores better than the float one.
        standard_error: standard error of the drop; None if unknown.
    """

    op: str
    dtype: str
    drop: float
    standard_error: float | None = None


@dataclass(frozen=True)
class Sensitivities:
    """Drops by op, and how they were measured.

    Attributes:
        drops: drops in the order of the ops; empty where nothing was measured.
        source: description of how they were measured.
    """

    drops: tuple[Sensitivity, ...]
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return the drops in plain JSON types."""
        return asdict(self)

    @classmethod
    def found_in(cls, notes: Mapping[str, Any], trials: Sequence[Trial]) -> Sensitivities:
        """Return what the strategy measured for each op alone, or else what follows from its trials.

        Args:
            notes: notes of the strategy: a list of measurements with ``op`` and ``drop``, or a drop by op.
            trials: trials of the search, the first of them with the start recipe.
        """
        for note in notes.values():
            if drops := _measured(note):
                return cls(drops, "one op quantized at a time, all others in fp32, on the same tuning rows")
        if drops := _told_by(trials):
            return cls(drops, "the drop of the first recipe minus that of the same recipe with only this op in floats")
        return cls((), "not measured: this search tried no recipe that differs from the first one in a single op")


def _measured(note: Any) -> tuple[Sensitivity, ...]:
    """Return the drops of a note; empty where it is about something else."""
    if isinstance(note, Mapping):
        if not note or not all(isinstance(drop, float | int) for drop in note.values()):
            return ()
        return tuple(Sensitivity(op, "", float(drop)) for op, drop in note.items())
    if not isinstance(note, list):
        return ()
    sensitivities = []
    for entry in note:
        if not isinstance(entry, Mapping) or not {"op", "drop"} <= set(entry):
            return ()
        sensitivities.append(
            Sensitivity(entry["op"], entry.get("dtype", ""), entry["drop"], entry.get("standard_error"))
        )
    return tuple(sensitivities)


def _told_by(trials: Sequence[Trial]) -> tuple[Sensitivity, ...]:
    """Return what the start recipe gains by another dtype of each op alone; the largest of several gains."""
    if not trials or not math.isfinite(trials[0].drop):
        return ()
    start = trials[0]
    best: dict[str, float] = {}
    for trial in trials[1:]:
        changed = [op for op, dtype in trial.recipe.ops.items() if start.recipe.ops[op] != dtype]
        if (
            len(changed) == 1
            and math.isfinite(trial.drop)
            and start.recipe.with_dtype(changed[0], trial.recipe.ops[changed[0]]) == trial.recipe
        ):
            best[changed[0]] = max(best.get(changed[0], -math.inf), start.drop - trial.drop)
    return tuple(Sensitivity(op, dtype, best[op]) for op, dtype in start.recipe.ops.items() if op in best)
