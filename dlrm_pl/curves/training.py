"""What a training run records of itself: loss, validations, learning rates and speed over its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlrm_pl.curves.bins import Bins
from dlrm_pl.curves.points import Points
from dlrm_pl.documents.fields import Count, make
from dlrm_pl.errors import CheckpointError

STATE = "TrainingCurves"
"""Name of the callback whose state in a checkpoint is the record."""

_MOST_RESUMED = 64
MOST_GROUPS = 256
"""Maximum number of parameter groups whose learning rates are recorded."""


@dataclass
class TrainingRecord:
    """Curves of a training run over its optimizer steps.

    Attributes:
        loss: name of the loss that was trained: bce, wbce or mse; empty if it is not known.
        rows_of_step: number of rows in an optimizer step, over all processes; 0 if it is not known.
        threads: number of threads of each process.
        processes: number of processes.
        step: last step.
        resumed: steps at which the training was continued from a checkpoint.
        losses: mean losses of batches, from the first process.
        speeds: samples per second over all processes, without the time for validation.
        groups: names of the columns of ``rates``.
        rates: learning rates.
        validations: AUROC and log loss on val.
        bad_step: step of the first loss that was not finite; None if there was none.
    """

    loss: str = ""
    rows_of_step: Count = 0
    threads: Count = 0
    processes: Count = 1
    step: Count = 0
    resumed: list[Count] = field(default_factory=list)
    losses: Bins = field(default_factory=Bins)
    speeds: Bins = field(default_factory=Bins)
    groups: list[str] = field(default_factory=list)
    rates: Points = field(default_factory=Points)
    validations: Points = field(default_factory=Points)
    bad_step: Count | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (len(self.losses) or len(self.validations) or len(self.speeds))

    @property
    def trains_log_loss(self) -> bool:
        """Whether the training loss and the log loss on val are the same quantity."""
        return self.loss in ("", "bce")

    def note_resumed(self, step: int) -> None:
        """Note that training resumes at a step."""
        self.resumed = [*self.resumed, step][-_MOST_RESUMED:]
        self.step = step

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values, for a checkpoint."""
        plain = {name: value for name, value in vars(self).items() if not isinstance(value, Bins | Points)}
        plain |= {"resumed": list(self.resumed), "groups": list(self.groups)}
        return plain | {name: getattr(self, name).to_dict() for name in ("losses", "speeds", "rates", "validations")}

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any], where: str) -> TrainingRecord | None:
        """Return the record of the run that saved a checkpoint; None if it has none.

        Args:
            checkpoint: contents of the checkpoint.
            where: its path, which begins the error message.

        Raises:
            CheckpointError: the record is damaged.
        """
        states = checkpoint.get("callbacks")
        state = states.get(STATE) if isinstance(states, dict) else None
        return cls.of_dict(state, f"{where}: callbacks.{STATE}") if state else None

    @classmethod
    def of_dict(cls, values: Any, where: str) -> TrainingRecord:
        """Return the record that plain values describe.

        Args:
            values: the dict that ``to_dict`` returned, perhaps modified since.
            where: where the values were read from, which begins the error message.

        Raises:
            CheckpointError: the values do not describe a record.
        """
        record = make(cls, values, where, CheckpointError)
        width = {len(row) for row in record.rates.rows} | {len(record.groups)} if len(record.rates) else {0}
        parts = (record.losses, record.speeds, record.rates, record.validations)
        sound = all(part.is_sound() for part in parts) and all(len(row) == 2 for row in record.validations.rows)
        if not sound or len(width) > 1 or len(record.resumed) > _MOST_RESUMED or len(record.groups) > MOST_GROUPS:
            raise CheckpointError(f"{where}: the training curves are inconsistent, so they are damaged.")
        return record
