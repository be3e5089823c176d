"""Settings that determine how training continues; a checkpoint keeps them, and a resumed run must have them too.

With another batch size, order or precision, a resumed training would continue without an error, but some rows would be
read twice and others never, or the weights would differ from those of an uninterrupted training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from dlrm_pl.documents.fields import Count, Partial, make
from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.parameter_names import to_our_name

KEY = "dlrm_pl_run"

_REASONS = {
    "data": "some rows would be trained on twice and others never",
    "trainer": "the steps would differ from those of an uninterrupted run",
    "model": "the steps would differ from those of an uninterrupted run",
    "model.engine": "rounding would differ from that of an uninterrupted run",
}
_OF_ROWS = ("data.train_rows", "data.train_checksum")
"""Settings that tell which rows are trained on."""
_REASONS |= dict.fromkeys(_OF_ROWS, "these training rows are not the ones that the checkpoint was trained on")
_OF_PROCESSES = ("trainer.devices", "data.batch_size", "model.engine")
"""Settings that only change the rounding, if a different number of processes trains on the same rows in each step."""
_OF_STATE = ("model.optimizer", "model.dense_optimizer")
"""Settings that cannot change, because the optimizer's state in a checkpoint depends on them."""


@dataclass(frozen=True)
class Override:
    """An occasion on which training continued with other settings.

    Attributes:
        step: optimizer step of the checkpoint that training continued from.
        changes: the changes, in words.
    """

    step: Count
    changes: list[str]


@dataclass(frozen=True)
class _Entry(Partial):
    """The file's entry, before it is checked."""

    settings: dict[str, Any]
    overridden: list[Override] = field(default_factory=list)
    nonfinite_tables: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunRecord:
    """What a checkpoint states about the run that saved it.

    Attributes:
        settings: settings that must not change, by name, as plain values.
        overridden: occasions on which they were changed on purpose.
        nonfinite_tables: names of tables that were imported with non-finite values, and may still have some.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    overridden: tuple[Override, ...] = ()
    nonfinite_tables: tuple[str, ...] = ()

    def write(self, checkpoint: dict[str, Any]) -> None:
        """Add the record to a checkpoint."""
        checkpoint[KEY] = {
            "settings": dict(self.settings),
            "overridden": [asdict(one) for one in self.overridden],
            "nonfinite_tables": list(self.nonfinite_tables),
        }

    def lines(self) -> list[str]:
        """Describe what was changed on purpose."""
        return [f"at step {one.step:,}: {'; '.join(one.changes)}" for one in self.overridden]

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any]) -> Self:
        """Read the record in a checkpoint; without one, as in earlier versions, return an empty record.

        Raises:
            CheckpointError: the record is corrupt.
        """
        imported = checkpoint.get("reference")
        upstreams = imported.get("nonfinite_rows", {}) if isinstance(imported, Mapping) else {}
        rows = [f"model.{to_our_name(name)}" for name in upstreams]
        stated = checkpoint.get(KEY)
        if stated is None:
            return cls({}, (), tuple(rows))
        entry = make(_Entry, stated, f"the entry {KEY!r}", CheckpointError, "The checkpoint is corrupt.")
        return cls(entry.settings, tuple(entry.overridden), (*entry.nonfinite_tables, *rows))

    def resumed(self, now: Mapping[str, Any], *, step: int, override: bool) -> Self:
        """Return the record of a run that resumes from a checkpoint with this one.

        Another number of processes may continue if their batches together have as many rows as those of the checkpoint.

        Args:
            now: settings of the resumed run.
            step: optimizer step of the checkpoint.
            override: whether settings may differ.

        Raises:
            ConfigurationError: settings differ, and may not or cannot; the message names them.
        """
        changes = {
            name: f"{name} is {_text(now[name])}, but {_text(before)} in the checkpoint"
            for name, before in self.settings.items()
            if name in now and now[name] != before
        }
        rows, devices = _rows_of_step(self.settings), now.get("trainer.devices")
        if "trainer.devices" in changes and rows is not None and rows == _rows_of_step(now):
            changes = {name: change for name, change in changes.items() if name not in _OF_PROCESSES}
        if override and (fixed := [changes[name] for name in _OF_STATE if name in changes]):
            raise ConfigurationError(
                f"--override cannot change the optimizer: {'; '.join(fixed)}, and the optimizer state in the "
                "checkpoint belongs to the latter. Give the checkpoint's optimizer, or train a new model."
            )
        overridden = self.overridden
        if changes and not override:
            reasons = dict.fromkeys(_REASONS.get(name) or _REASONS[name.partition(".")[0]] for name in changes)
            example = ", as when a trained model learns the next day's rows" if changes.keys() & set(_OF_ROWS) else ""
            same = ""
            if "trainer.devices" in changes and rows is not None and devices and rows % devices == 0:
                same = (
                    f" With data.batch_size={rows // devices}, a step would have {rows:,} rows, as in the checkpoint."
                )
            raise ConfigurationError(
                f"Training cannot be continued with different settings: {'; '.join(changes.values())}. "
                f"{_capital('; and '.join(reasons))}.{same} Give the settings of the checkpoint, or --override to "
                f"continue with these anyway{example}; later checkpoints will record it."
            )
        if changes:
            overridden = (*overridden, Override(step, list(changes.values())))
        return type(self)(now, overridden, self.nonfinite_tables)


def _rows_of_step(settings: Mapping[str, Any]) -> int | None:
    """Return the number of rows that all processes together take at a time; None if it is not known."""
    sizes = [settings.get(name) for name in ("data.batch_size", "trainer.devices")]
    return sizes[0] * sizes[1] if isinstance(sizes[0], int) and isinstance(sizes[1], int) else None


def _text(value: Any) -> str:
    return "not set" if value is None else str(value)


def _capital(clause: str) -> str:
    return clause[0].upper() + clause[1:]
